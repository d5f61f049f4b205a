// SPDX-License-Identifier: Apache-2.0
// dpkg's database (dpkg 1.22, admindir /var/lib/dpkg) for packages in the state "install ok
// unpacked".
//
// Conffiles are in their places already, with their digests in the status: dpkg then finds no
// NAME.dpkg-new at configuration time and takes the file as it is (deferred_configure_conffile in
// its sources), which is what debootstrap's unpacking amounts to, too.
#include "image/rootfs.h"

#include <stdio.h>

#define INFO "var/lib/dpkg/info"

/* "libc6:riscv64" for packages that may be installed for several architectures, else "bash". */
static char *info_name(const struct rootfs *r, const struct package *p)
{
	struct slice name = deb822_get(&p->stanza, "Package");
	bool same = slice_is(deb822_get(&p->stanza, "Multi-Arch"), "same");
	return xasprintf("%.*s%s%s", (int)name.len, name.p, same ? ":" : "",
		same ? r->archive->arch->debian : "");
}

static void add_status(struct rootfs *r, size_t index, struct strbuf *status)
{
	const struct package *p = &r->packages[index];
	bool header = false;
	strbuf_add(status, p->stanza.text.p, p->stanza.text.len);
	strbuf_adds(status, "\nStatus: install ok unpacked\n");
	vec_for_each (c, &r->conffiles) {
		if (c->package != index || !c->md5[0])
			continue;
		if (!header)
			strbuf_adds(status, "Conffiles:\n");
		header = true;
		strbuf_addf(status, " %s %s\n", c->path, c->md5);
	}
	strbuf_addc(status, '\n');
}

static void add_info(struct rootfs *r, size_t index,
	void (*list_of)(struct rootfs *r, size_t package, struct strbuf *out))
{
	const struct package *p = &r->packages[index];
	char *name _free_ = info_name(r, p);
	list_of(r, index, &rootfs_add_file(r, 0644, INFO "/%s.list", name)->content);
	vec_for_each (f, &p->control) {
		struct rootfs_extra *x = rootfs_add_file(
			r, f->mode & 0111 ? 0755 : 0644, INFO "/%s.%s", name, f->name);
		strbuf_add(&x->content, f->content.data, f->content.len);
	}
}

/* One line "DIRECTIVE NAME" of a triggers control file, deb-triggers(5). */
struct interest {
	struct slice name;
	const char *suffix; /* "/noawait" or "" */
};

static bool parse_interest(struct slice line, struct interest *out)
{
	struct slice directive;
	if (!slice_word(&line, &directive) || directive.p[0] == '#' ||
		!slice_word(&line, &out->name))
		return false;
	out->suffix = slice_is(directive, "interest-noawait") ? "/noawait" : "";
	return slice_is(directive, "interest") || slice_is(directive, "interest-await") ||
	       slice_is(directive, "interest-noawait");
}

/* Explicit triggers have a file each, named like them. */
static bool trigger_name_ok(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '/')
			return false;
	return s.len > 0 && s.len < 128 && s.p[0] != '.';
}

static struct strbuf *trigger_file(struct rootfs *r, struct slice name)
{
	char *path _free_ = xasprintf("var/lib/dpkg/triggers/%.*s", (int)name.len, name.p);
	vec_for_each (x, &r->extras) {
		if (!strcmp(x->path, path))
			return &x->content;
	}
	return &rootfs_add_file(r, 0644, "%s", path)->content;
}

static void add_triggers(struct rootfs *r, const struct package *p)
{
	const struct package_file *f = package_control(p, "triggers");
	if (!f)
		return;
	struct slice rest = {f->content.data, f->content.len}, line;
	struct slice package = deb822_get(&p->stanza, "Package");
	bool same = slice_is(deb822_get(&p->stanza, "Multi-Arch"), "same");
	while (slice_line(&rest, &line)) {
		struct interest in;
		if (!parse_interest(line, &in))
			continue;
		char *who _free_ = xasprintf("%.*s%s%s%s", (int)package.len, package.p,
			same ? ":" : "", same ? r->archive->arch->debian : "", in.suffix);
		if (in.name.p[0] == '/')
			strbuf_addf(trigger_file(r, SLICE("File")), "%.*s %s\n", (int)in.name.len,
				in.name.p, who);
		else if (trigger_name_ok(in.name))
			strbuf_addf(trigger_file(r, in.name), "%s\n", who);
	}
}

void dpkgdb_make(
	struct rootfs *r, void (*list_of)(struct rootfs *r, size_t package, struct strbuf *out))
{
	struct strbuf status _strbuf_ = STRBUF_INIT;
	strbuf_adds(&rootfs_add_file(r, 0644, INFO "/format")->content, "1\n");
	strbuf_addf(&rootfs_add_file(r, 0644, "var/lib/dpkg/arch")->content, "%s\n",
		r->archive->arch->debian);
	rootfs_add_file(r, 0644, "var/lib/dpkg/available");
	rootfs_add_file(r, 0644, "var/lib/dpkg/triggers/Lock");
	rootfs_add_file(r, 0644, "var/lib/dpkg/triggers/Unincorp");
	for (size_t i = 0; i < r->n; i++) {
		add_info(r, i, list_of);
		add_triggers(r, &r->packages[i]);
		add_status(r, i, &status);
	}
	struct rootfs_extra *x = rootfs_add_file(r, 0644, "var/lib/dpkg/status");
	x->content = status;
	status = STRBUF_INIT;
}
