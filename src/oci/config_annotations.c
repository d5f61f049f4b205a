// SPDX-License-Identifier: Apache-2.0
#include "oci/config_annotations.h"

#include "container/foreign.h"
#include "net/slirp.h"

static int read_network(const char *value, struct spec *s, struct error *err)
{
	const struct spec_namespace *ns = &s->namespaces[NAMESPACE_NET];
	if (!strcmp(value, "none"))
		return 0;
	if (strcmp(value, "user"))
		return error_set(err, EINVAL, "\"%s\" is neither \"user\" nor \"none\"", value);
	if (!ns->listed || ns->path)
		return error_set(
			err, EINVAL, "\"user\" needs a new network namespace (linux.namespaces)");
	s->user_network = true;
	return 0;
}

/* Ports, separated by commas. */
static int read_published(struct reader *r, const char *value, struct spec *s)
{
	char *text = keep(r, value), *rest = text;
	s->published = ARENA_ARRAY(r->arena, struct slirp_publish, SLIRP_PUBLISH_MAX);
	for (char *word; *text && (word = strsep(&rest, ","));) {
		if (s->n_published == SLIRP_PUBLISH_MAX)
			return error_set(
				r->err, EINVAL, "more than %d published ports", SLIRP_PUBLISH_MAX);
		int code = slirp_publish_parse(word, &s->published[s->n_published], r->err);
		if (code < 0)
			return code;
		s->n_published++;
	}
	return 0;
}

void config_annotations(struct reader *r, struct spec *s)
{
	const char *const publish = "dev.strata.publish";
	for (size_t i = 0; i < s->annotations.n && !r->failed; i++) {
		const struct spec_pair *p = &s->annotations.items[i];
		int code = 0;
		if (!strcmp(p->key, "dev.strata.arch"))
			code = foreign_mode(p->value, &s->foreign, r->err);
		else if (!strcmp(p->key, "dev.strata.network"))
			code = read_network(p->value, s, r->err);
		else if (!strcmp(p->key, publish))
			code = read_published(r, p->value, s);
		if (code < 0)
			r->failed = error_wrap(r->err, code, "%s: annotations.%s", r->file, p->key);
	}
	if (!r->failed && s->n_published && !s->user_network)
		r->failed = error_set(r->err, EINVAL,
			"%s: annotations.%s: there is no dev.strata.network=user", r->file,
			publish);
}
