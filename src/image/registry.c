// SPDX-License-Identifier: Apache-2.0
#include "image/registry.h"

#include "wire/http_head.h"
#include "wire/stream.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN_MAX (256u << 10) /* bytes of a token service's answer */

void registry_call_done(struct registry_call *c)
{
	free(c->url);
	strbuf_done(&c->head);
	*c = REGISTRY_CALL;
}

void registry_done(struct registry *r)
{
	free(r->name);
	free(r->base);
	free(r->scope);
	free(r->extra_scope);
	free(r->service);
	free(r->realm);
	if (r->authorization)
		explicit_bzero(r->authorization, strlen(r->authorization));
	free(r->authorization);
	registry_credentials_done(&r->credentials);
	*r = (struct registry){0};
}

static int read_memfd(int fd, struct strbuf *out, uint64_t limit)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size > limit)
		return -EBADMSG;
	struct stream_range range = {.fd = fd, .end = (uint64_t)st.st_size};
	strbuf_clear(out);
	return stream_read_all(stream_range_read, &range, limit, out, NULL);
}

/* One round of the helper; calls[pick[i]] are run. */
static int run_once(struct registry *r, struct registry_call *calls, const size_t *pick, size_t n,
	void (*bytes)(void *opaque, int64_t n), void *opaque, struct error *err)
{
	struct fetch_job jobs[FETCH_JOBS_MAX];
	struct fetch_request requests[FETCH_JOBS_MAX];
	size_t opened = 0;
	int rc = 0;
	for (; rc == 0 && opened < n; opened++) {
		struct registry_call *c = &calls[pick[opened]];
		requests[opened] = (struct fetch_request){.method = c->method ? c->method : "GET",
			.headers = c->headers,
			.authorization = r->authorization,
			.head_fd = memfd_create("head", MFD_CLOEXEC),
			.body_fd = c->body_fd,
			.body_offset = c->body_offset,
			.body_bytes = c->body_bytes,
			.ca_file = r->place->ca_file,
			.no_verify = r->place->no_verify};
		jobs[opened] = (struct fetch_job){.url = c->url,
			.request = &requests[opened],
			.fd = c->fd,
			.have = c->have,
			.limit = c->limit};
		if (requests[opened].head_fd < 0)
			rc = error_errno(err, errno, "download helper");
	}
	struct error none _error_ = ERROR_INIT;
	if (rc == 0 && fetch_run(jobs, n, bytes, opaque, &none) < 0 &&
		jobs[0].result == -EINPROGRESS)
		rc = error_set(err, none.code, "%s", none.message); /* nothing was started */
	if (rc == 0) {
		for (size_t i = 0; i < n; i++) {
			struct registry_call *c = &calls[pick[i]];
			c->result = jobs[i].result;
			/* A challenge behind a redirect is not the place's: never answered. */
			c->status = jobs[i].status;
			if (c->status == 401 && jobs[i].redirects)
				c->status = 403;
			memcpy(c->message, jobs[i].message, sizeof(c->message));
			if (c->result == 0 &&
				read_memfd(requests[i].head_fd, &c->head, FETCH_HEAD_MAX) < 0)
				c->result = -EBADMSG;
		}
	}
	for (size_t i = 0; i < opened; i++)
		if (requests[i].head_fd >= 0)
			close(requests[i].head_fd);
	return rc;
}

/* The first call that got no answer. */
int registry_transport_error(
	const struct registry *r, const struct registry_call *c, struct error *err)
{
	const char *why = c->message[0] ? c->message : strerror(-c->result);
	error_set(err, -c->result, "%s: %s", r->place->host, why);
	switch (-c->result) {
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ETIMEDOUT:
		error_remedy(err, "check the name of the registry, the network connection and "
				  "https_proxy");
		break;
	case EKEYREJECTED:
		error_remedy(err,
			"if the registry has a certificate of its own, name the authority's as "
			"\"ca\" of %s in registries.json (see the manual)",
			r->place->host);
		break;
	case EPROTO:
		error_remedy(err,
			"if this registry speaks HTTP without TLS, say \"http\": true for %s in "
			"registries.json (see the manual)",
			r->place->host);
		break;
	}
	return c->result;
}

/* Basic credentials as a header's value. */
static char *basic_authorization(const struct registry_credentials *c)
{
	struct strbuf plain _strbuf_ = STRBUF_INIT, out = STRBUF_INIT;
	strbuf_addf(&plain, "%s:%s", c->user, c->password);
	strbuf_adds(&out, "Basic ");
	http_add_base64(&out, plain.data, plain.len);
	explicit_bzero(plain.data, plain.len);
	return strbuf_take(&out);
}

static void add_parameter(struct strbuf *out, char separator, const char *name, const char *value)
{
	if (!value)
		return;
	if (out->len)
		strbuf_addc(out, separator);
	strbuf_addf(out, "%s=", name);
	http_add_escaped(out, value);
}

static int parse_token(const char *text, size_t len, char **out, struct error *err)
{
	json_t *root = json_loadb(text, len, 0, NULL);
	const char *token = json_string_value(json_object_get(root, "token"));
	if (!token || !*token)
		token = json_string_value(json_object_get(root, "access_token"));
	int rc = 0;
	/* It becomes part of a header: visible characters only. */
	for (const char *c = token; c && *c; c++)
		if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f)
			token = NULL;
	if (token && *token)
		*out = xasprintf("Bearer %s", token);
	else
		rc = error_set(err, EBADMSG, "the token service's answer holds no token");
	json_decref(root);
	return rc;
}

/* Where tokens come from must be as private as the registry itself. */
static bool realm_ok(const struct registry *r, const char *realm)
{
	bool secure = !strncmp(r->base, "https://", 8);
	return !strncmp(realm, "https://", 8) || (!secure && !strncmp(realm, "http://", 7));
}

/* Asks the token service (distribution's "token authentication", OAuth 2 for identity tokens). */
static int fetch_token(struct registry *r, struct error *err)
{
	static const char *const form[] = {"Content-Type: application/x-www-form-urlencoded", NULL};
	struct strbuf query _strbuf_ = STRBUF_INIT, answer _strbuf_ = STRBUF_INIT;
	struct registry_call c = REGISTRY_CALL;
	const struct registry_credentials *k = &r->credentials;
	const size_t first = 0;
	int fd _close_ = memfd_create("token", MFD_CLOEXEC);
	int body _close_ = memfd_create("form", MFD_CLOEXEC);
	if (fd < 0 || body < 0)
		return error_errno(err, errno, "token");
	add_parameter(&query, '&', "service", r->service);
	add_parameter(&query, '&', "scope", r->scope);
	add_parameter(&query, '&', "scope", r->extra_scope);
	add_parameter(&query, '&', "client_id", "strata");
	c.fd = fd;
	c.limit = TOKEN_MAX;
	free(r->authorization);
	r->authorization = NULL;
	if (k->identity_token) {
		add_parameter(&query, '&', "grant_type", "refresh_token");
		add_parameter(&query, '&', "refresh_token", k->identity_token);
		c.method = "POST";
		c.headers = form;
		c.url = xstrdup(r->realm);
		c.body_fd = body;
		c.body_bytes = query.len;
		if (write(body, query.data, query.len) != (ssize_t)query.len)
			return error_errno(err, errno, "token");
	} else {
		c.url = xasprintf(
			"%s%c%s", r->realm, strchr(r->realm, '?') ? '&' : '?', query.data);
		r->authorization = k->user ? basic_authorization(k) : NULL;
	}
	int rc = run_once(r, &c, &first, 1, NULL, NULL, err);
	free(r->authorization);
	r->authorization = NULL;
	if (rc == 0 && c.result < 0)
		rc = registry_transport_error(r, &c, err);
	if (rc == 0)
		rc = registry_check(r, &c, "token", err);
	if (rc == 0 && read_memfd(fd, &answer, TOKEN_MAX) < 0)
		rc = error_set(err, EBADMSG, "the token service's answer is too long");
	if (rc == 0)
		rc = parse_token(answer.data, answer.len, &r->authorization, err);
	registry_call_done(&c);
	return rc < 0 ? error_wrap(err, rc, "%s: token from %s", r->place->host, r->realm) : 0;
}

/* Does what an answer of status 401 asks for. */
static int answer_challenge(struct registry *r, const struct registry_call *c, struct error *err)
{
	struct http_challenge best = {0};
	for (size_t i = 0; i < 16; i++) {
		char *value _free_ =
			http_head_get(c->head.data, c->head.len, "WWW-Authenticate", i);
		struct http_challenge one;
		if (!value)
			break;
		if (http_challenge_parse(&one, value) && one.scheme > best.scheme) {
			http_challenge_done(&best);
			best = one;
		} else {
			http_challenge_done(&one);
		}
	}
	int rc = 0;
	if (best.scheme == HTTP_AUTH_BEARER && best.realm && realm_ok(r, best.realm)) {
		free(r->realm);
		free(r->service);
		r->realm = TAKE_PTR(best.realm);
		r->service = TAKE_PTR(best.service);
		rc = fetch_token(r, err);
	} else if (best.scheme == HTTP_AUTH_BEARER) {
		rc = error_set(err, EPROTO,
			"%s: names no token service that can be trusted: %.200s", r->place->host,
			best.realm ? best.realm : "");
	} else if (best.scheme == HTTP_AUTH_BASIC && r->credentials.user) {
		free(r->authorization);
		r->authorization = basic_authorization(&r->credentials);
	} else {
		error_set(err, EACCES, "%s: wants a user name and a password", r->place->host);
		error_remedy(err, "`strata login %s`", r->place->host);
		rc = -EACCES;
	}
	http_challenge_done(&best);
	return rc;
}

int registry_try(struct registry *r, struct registry_call *calls, size_t n,
	void (*bytes)(void *opaque, int64_t n), void *opaque, struct error *err)
{
	size_t pick[FETCH_JOBS_MAX] = {0}, refused[FETCH_JOBS_MAX], n_refused = 0;
	if (n > FETCH_JOBS_MAX)
		return error_set(err, E2BIG, "too many requests at once");
	for (size_t i = 0; i < n; i++)
		pick[i] = i;
	int rc = run_once(r, calls, pick, n, bytes, opaque, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < n; i++)
		if (calls[i].result == 0 && calls[i].status == 401)
			refused[n_refused++] = i;
	if (!n_refused)
		return 0;
	rc = answer_challenge(r, &calls[refused[0]], err);
	return rc < 0 ? rc : run_once(r, calls, refused, n_refused, bytes, opaque, err);
}

int registry_run(struct registry *r, struct registry_call *calls, size_t n,
	void (*bytes)(void *opaque, int64_t n), void *opaque, struct error *err)
{
	int rc = registry_try(r, calls, n, bytes, opaque, err);
	for (size_t i = 0; rc == 0 && i < n; i++)
		if (calls[i].result < 0)
			rc = registry_transport_error(r, &calls[i], err);
	return rc;
}

/* {"errors": [{"code": …, "message": …}]}: the first message, without control characters. */
static void registry_words(const struct registry_call *c, struct strbuf *out)
{
	size_t len;
	const char *body = http_head_body(c->head.data, c->head.len, &len);
	json_t *root = json_loadb(body, len, 0, NULL);
	json_t *first = json_array_get(json_object_get(root, "errors"), 0);
	const char *text = json_string_value(json_object_get(first, "message"));
	if (!text)
		text = json_string_value(json_object_get(first, "code"));
	if (!text)
		text = json_string_value(json_object_get(root, "details"));
	for (; text && *text && out->len < 200; text++)
		strbuf_addc(out, (unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
	json_decref(root);
}

int registry_check(const struct registry *r, const struct registry_call *c, const char *what,
	struct error *err)
{
	struct strbuf words _strbuf_ = STRBUF_INIT;
	const char *host = r->place->host;
	if (c->status >= 200 && c->status < 300)
		return 0;
	registry_words(c, &words);
	int code = c->status == 401 || c->status == 403	  ? EACCES
		   : c->status == 404 || c->status == 410 ? ENOENT
		   : c->status == 429			  ? EBUSY
							  : EIO;
	error_set(err, code, "%s: %s%s%s: the registry says %s%s(status %u)", host,
		r->name ? r->name : "", r->name ? ": " : "", what, words.len ? words.data : "",
		words.len ? " " : "", c->status);
	if (code == EACCES)
		error_remedy(err,
			r->credentials.user || r->credentials.identity_token
				? "check the name, and that this account may do it; "
				  "`strata login %s` takes another one"
				: "check the name; if it is private: `strata login %s`",
			host);
	else if (code == EBUSY)
		error_remedy(err, "wait a while, or log in: `strata login %s`", host);
	return -code;
}

int registry_get(struct registry *r, struct registry_call *c, const char *what, uint64_t limit,
	struct strbuf *body, struct error *err)
{
	int fd _close_ = memfd_create("document", MFD_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "%s", what);
	c->fd = fd;
	c->limit = limit;
	int rc = registry_run(r, c, 1, NULL, NULL, err);
	c->fd = -1;
	if (rc == 0)
		rc = registry_check(r, c, what, err);
	if (rc == 0 && read_memfd(fd, body, limit) < 0)
		rc = error_set(err, EBADMSG, "%s: %s: too long", r->place->host, what);
	return rc;
}

/* Scheme and authority of a URL: "https://host:port". */
static size_t origin_len(const char *url)
{
	const char *p = strstr(url, "://");
	return p ? (size_t)(p + 3 - url) + strcspn(p + 3, "/?#") : 0;
}

char *registry_location(const struct registry_call *c)
{
	char *value _free_ = http_head_get(c->head.data, c->head.len, "Location", 0);
	if (!value || !*value)
		return NULL;
	for (const char *p = value; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return NULL;
	if (value[0] == '/' && value[1] != '/')
		return xasprintf("%.*s%s", (int)origin_len(c->url), c->url, value);
	/* Not from TLS to none. */
	if (!strncmp(value, "https://", 8) ||
		(!strncmp(value, "http://", 7) && !strncmp(c->url, "http://", 7)))
		return TAKE_PTR(value);
	return NULL;
}

/* GET /v2/: is this a registry, over which scheme, and what does it want to know about us? */
static int ping(struct registry *r, const char *scheme, struct error *err)
{
	struct registry_call c = REGISTRY_CALL;
	free(r->base);
	/* The hub's API has a name of its own. */
	r->base = xasprintf("%s://%s", scheme,
		strcmp(r->place->host, "docker.io") ? r->place->host : "registry-1.docker.io");
	c.url = xasprintf("%s/v2/", r->base);
	c.limit = 64 * KiB;
	const size_t first = 0;
	int rc = run_once(r, &c, &first, 1, NULL, NULL, err);
	if (rc == 0 && c.result < 0)
		rc = registry_transport_error(r, &c, err);
	else if (rc == 0 && c.status == 401)
		rc = answer_challenge(r, &c, err);
	else if (rc == 0 && (c.status < 200 || c.status >= 300))
		rc = error_set(err, EPROTO, "%s: is no registry: %s has status %u", r->place->host,
			c.url, c.status);
	registry_call_done(&c);
	return rc;
}

static int find_scheme(struct registry *r, struct error *err)
{
	bool loopback = reference_host_loopback(r->place->host);
	if (r->place->http)
		return ping(r, "http", err);
	struct error first _error_ = ERROR_INIT;
	int rc = ping(r, "https", &first);
	/* Registries on loopback seldom have TLS, and nobody is between us and them. */
	if (rc == -EPROTO && loopback)
		return ping(r, "http", err);
	if (rc < 0 && err) {
		error_done(err);
		*err = first;
		first = ERROR_INIT;
	}
	return rc;
}

int registry_open(struct registry *r, const struct registry_place *place,
	const struct registry_purpose *p, struct error *err)
{
	*r = (struct registry){.place = place};
	int rc = 0;
	if (p->repository) {
		r->name = xasprintf("%s%s", place->prefix, p->repository);
		r->scope = xasprintf("repository:%s:%s", r->name, p->push ? "pull,push" : "pull");
	}
	if (p->mount_from)
		r->extra_scope = xasprintf("repository:%s:pull", p->mount_from);
	if (p->credentials) {
		r->credentials.user = xstrdup(p->credentials->user);
		r->credentials.password = xstrdup(p->credentials->password);
	} else {
		rc = registry_credentials_load(
			&r->credentials, place->host, r->name ? r->name : "", err);
	}
	if (rc == 0)
		rc = find_scheme(r, err);
	if (rc < 0)
		registry_done(r);
	return rc;
}
