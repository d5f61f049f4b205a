// SPDX-License-Identifier: Apache-2.0
// The image store: an OCI image layout (image-spec 1.1, "image-layout.md") in the user's data
// directory, and the ways images get into it.
//
//     STORE/oci-layout  STORE/index.json  STORE/blobs/sha256/…   STORE/lock
//     STORE/layers/…    compressed layers, uncompressed, by diff_id
//     STORE/partial/…   downloads from registries that were interrupted, by digest
//
// Every file is written under a temporary name, synced and renamed, index.json last, so the store
// is valid whenever the process is killed. Changes of index.json are made under an exclusive
// flock() of STORE/lock. What is half-downloaded stays in the cache and is taken up again by the
// next pull.
//
// References are NAME[:TAG] or, of an image in a registry, HOST[:PORT]/NAME[:TAG][@DIGEST]
// (wire/reference.h). "debian" is "debian:trixie"; the tags of "debian" are the suites. The
// matching boot image (kernel, initramfs, modules) is "debian-boot:SUITE". Architectures are the
// OCI names: riscv64, amd64, arm64.
//
// A store belongs to one thread. image_pull() and boot_pull() fork the download helper: call them
// before the process starts threads. SIGPIPE must be ignored by the process.
// Everything that comes from outside (archive index, packages, registry, a guest's tar stream, the
// store's own files) is checked; what fails is -EBADMSG, and nothing of it is kept.
#ifndef STRATA_IMAGE_IMAGE_H
#define STRATA_IMAGE_IMAGE_H

#include "base/error.h"
#include "base/strbuf.h"

#define IMAGE_DIGEST_LEN 71 /* "sha256:" and 64 hexadecimal digits */

struct image_store;

struct image_store_options {
	/* Each NULL takes the default in brackets. */
	const char *home;    /* [$STRATA_HOME, $XDG_DATA_HOME/strata, ~/.local/share/strata] */
	const char *cache;   /* [$STRATA_CACHE, $XDG_CACHE_HOME/strata, ~/.cache/strata] */
	const char *mirror;  /* [$STRATA_MIRROR, the first Debian archive that apt uses] */
	const char *keyring; /* [/usr/share/keyrings/debian-archive-keyring.gpg] */
	const char *apt_dir; /* [/etc/apt] */
};

/* Makes the directories when they are missing. options may be NULL. -EACCES, -EROFS, -ENOSPC come
 * with a remedy. A read-only store opens; only what writes into it then fails. */
int image_store_open(
	struct image_store **out, const struct image_store_options *options, struct error *err);
void image_store_free(struct image_store *s); /* images that are open stay valid */

/* Called on the caller's thread; any member may be NULL. Between two stage() calls done grows up to
 * total, in bytes; total 0 means unknown. */
struct image_progress {
	void (*stage)(void *opaque, const char *what); /* "Downloading 77 packages" */
	void (*bytes)(void *opaque, uint64_t done, uint64_t total);
	void *opaque;
};

enum image_kind {
	IMAGE_ROOTFS,	    /* a file tree with a configuration */
	IMAGE_BOOT,	    /* kernel, initramfs, modules */
	IMAGE_UNCONFIGURED, /* a file tree that `dpkg --configure -a` has still to finish */
	IMAGE_STEP,	    /* of a build, kept for the next one */
};

struct image_layer {
	char digest[IMAGE_DIGEST_LEN + 1];  /* of the blob in the manifest */
	char diff_id[IMAGE_DIGEST_LEN + 1]; /* of what fd reads; a boot image's: the same */
	char *media_type;		    /* of the blob */
	uint64_t size;			    /* bytes that fd reads */
	/* Read-only, owned by the image; holds a shared flock. A root file system's layer: always
	 * the uncompressed tar, whatever the blob is. */
	int fd;
	char *path; /* of that file, absolute, for messages */
};

/* An image opened for use. While it is open (in any process that holds one of the layer
 * descriptors) image_remove() refuses it with -EBUSY. */
struct image {
	enum image_kind kind;
	char *ref;			   /* complete: "debian:trixie" */
	char *arch;			   /* "riscv64" */
	char digest[IMAGE_DIGEST_LEN + 1]; /* of the manifest */
	struct image_layer *layers;	   /* lowest first */
	size_t n_layers;
	/* IMAGE_ROOTFS and IMAGE_UNCONFIGURED: the OCI config. Lists end with NULL, never NULL. */
	char **entrypoint, **cmd, **env;
	char *workdir; /* "/" when the config has none */
	char *user;    /* "" means root */
	/* IMAGE_BOOT: indexes into layers, and the kernel's version ("6.12.107+deb13-riscv64"). */
	size_t kernel, initramfs, modules, busybox;
	char *kernel_version;
	int manifest_fd; /* holds a shared flock */
};

/* ref: a reference; arch: NULL is the host's. -ENOENT when the store has no such image. Sizes are
 * checked at once; a layer whose file has changed since its digest was last compared is read and
 * compared again. Needs no network and no writable store.
 */
int image_open(struct image_store *s, const char *ref, const char *arch, struct image **out,
	struct error *err);
/* The boot image for `ref` ("debian", "debian:trixie" or "debian-boot:trixie"). */
int boot_open(struct image_store *s, const char *ref, const char *arch, struct image **out,
	struct error *err);
void image_free(struct image *img);

/* Runs a machine on `unconfigured` (its layer, with a writable layer above) that executes
 * IMAGE_CONFIGURE_PATH as root with /proc, /sys, /dev mounted and no network, its stdout connected
 * to tar_fd, its stderr being words for a log. The script finishes the installation and writes the
 * tree to stdout as a tar archive. The callback returns 0 only when the script exited with 0;
 * tar_fd stays the caller's. The stream is hostile and checked on the way; once it was refused,
 * writes fail with EPIPE: return -EPIPE then, and the pull reports the reason. To get a boot image,
 * call boot_pull() with the same store, before the pull or from the callback. */
#define IMAGE_CONFIGURE_PATH "/var/lib/strata/configure"
typedef int image_configure_fn(
	void *opaque, const struct image *unconfigured, int tar_fd, struct error *err);

struct image_pull_options {
	const struct image_progress *progress; /* or NULL */
	image_configure_fn *configure;	       /* NULL: the pull ends with the unconfigured image */
	void *opaque;			       /* of configure */
	bool refresh;			       /* ask the archive even if the store has the image */
};

#define IMAGE_ARCH_ALL "all"

/* Gets ref for arch; IMAGE_ARCH_ALL: from a registry, each that it has. Without refresh, an image
 * that is there is a success at once, without network. An unconfigured one that an interrupted pull
 * left is configured without a new download. Two pulls at once wait for each other. -ENOENT unknown
 * name or suite, -EKEYREJECTED bad signature, -EBADMSG damaged or wrong data,
 * -ENETUNREACH/-EHOSTUNREACH/-ETIMEDOUT no network, -ENOSPC, -EACCES. */
int image_pull(struct image_store *s, const char *ref, const char *arch,
	const struct image_pull_options *options, struct error *err);
/* An image of base's layers and at most one more. */
struct tar_writer;
typedef int image_layer_fn(void *opaque, struct tar_writer *w, struct error *err);
struct image_derived {
	const struct image *base; /* NULL: none */
	const struct json_t
		*config; /* image-spec, "config.md"; its rootfs.diff_ids are made here */
	const char *arch;
	image_layer_fn *layer; /* writes the new layer's entries; NULL, or none written: no layer */
	void *opaque;
	bool step; /* IMAGE_STEP, which only image_open_step() finds */
};
int image_derive(
	struct image_store *s, const struct image_derived *d, const char *ref, struct error *err);
int image_open_step(struct image_store *s, const char *ref, const char *arch, struct image **out,
	struct error *err);

struct image_push_options {
	const struct image_progress *progress; /* or NULL */
	const char *to;	  /* another reference, with a host; NULL: the image's own */
	const char *arch; /* NULL: all that are here; several become an index */
};

/* Sends an image to a registry, as it is: same bytes, same digests. *digest (may be NULL, freed by
 * the caller) is what the reference there now means. -ENOENT: no such image; -EINVAL: a reference
 * without a host; -EACCES: the registry refuses. Forks like image_pull(). */
int image_push(struct image_store *s, const char *ref, const struct image_push_options *options,
	char **digest, struct error *err);

/* Credentials for a registry, tried before they are kept in $XDG_CONFIG_HOME/strata/auth.json
 * (mode 0600). -EACCES: the registry does not take them. Forks like image_pull(). */
int image_login(const char *host, const char *user, const char *password, struct error *err);
int image_logout(const char *host, struct error *err); /* -ENOENT: there are none */
/* Where an image of this name can be got from: nowhere (also when it is no reference), the packages
 * of a Debian archive, a registry. */
enum image_source { IMAGE_SOURCE_NONE, IMAGE_SOURCE_DEBIAN, IMAGE_SOURCE_REGISTRY };
enum image_source image_ref_source(const char *ref);
bool image_ref_same(const char *a, const char *b); /* "debian" and "debian:trixie" are */

/* The boot image that belongs to ref ("debian:trixie"); configure is not used. */
int boot_pull(struct image_store *s, const char *ref, const char *arch,
	const struct image_pull_options *options, struct error *err);

struct image_import_options {
	const struct image_progress *progress; /* or NULL */
	const char *name;		       /* NULL: the name that the archive gives */
	const char *arch; /* NULL: all that are in it; of a file tree, the host's */
};

/* From a file ("-": stdin): an OCI layout (also a directory), a docker archive, or else the tar of
 * a file tree, which becomes a layer as it is. Archives may be compressed. *names gets a line for
 * each image. -EINVAL: it needs a name; -EBADMSG, -ENOTSUP, -ENOENT. */
int image_import(struct image_store *s, const char *path,
	const struct image_import_options *options, struct strbuf *names, struct error *err);

struct image_export_options {
	const struct image_progress *progress; /* or NULL */
	const char *format;		       /* "oci": layout in a tar, "oci-dir", "docker" */
	const char *arch; /* NULL: all that are here; docker: the host's, or the only one */
};

/* Into a new file or directory, or a tar to stdout ("-"); layers as they are in the store, in a
 * docker archive uncompressed. What was begun is removed when it fails. */
int image_export(struct image_store *s, const char *ref, const char *path,
	const struct image_export_options *options, struct error *err);

/* What image_commit_layer() writes into the OCI config. */
struct image_config {
	const char *ref, *arch;
	const char *const *entrypoint, *const *cmd, *const *env; /* NULL or ends with NULL */
	const char *workdir, *user;				 /* NULL: "/", root */
	const char *created;					 /* RFC 3339, or NULL */
};

/* Makes an image of one layer from a tar stream (pipe, socket or file; read up to the end of the
 * archive). Entries are checked and rewritten: clean relative paths, no device nodes, nothing below
 * dev, proc, run, sys and tmp, hard links only to files of the stream. limit_bytes bounds the layer
 * (0: 16 GiB). */
int image_commit_layer(struct image_store *s, int tar_fd, const struct image_config *config,
	uint64_t limit_bytes, const struct image_progress *progress, struct error *err);

/* One line of a listing. */
struct image_info {
	enum image_kind kind;
	char *ref, *arch;
	char digest[IMAGE_DIGEST_LEN + 1]; /* of the manifest */
	char *created;			   /* RFC 3339, "" when unknown */
	uint64_t size;			   /* bytes of all blobs, shared ones counted each time */
	bool damaged;			   /* a blob is missing or has the wrong size: pull again */
};

/* Sorted by ref, then arch; without the steps of builds. Free with image_list_free(). */
int image_list(struct image_store *s, struct image_info **out, size_t *n, struct error *err);
void image_list_free(struct image_info *list, size_t n);

/* arch NULL: the host's, or else any. {"ref", "arch", "kind", "digest", "size", "manifest": {…},
 * "config": {…}}, indented. */
int image_inspect(struct image_store *s, const char *ref, const char *arch, struct strbuf *json,
	struct error *err);
/* Reads every blob of the image and compares size and SHA-256. -EBADMSG names the first bad one. */
int image_verify(struct image_store *s, const char *ref, const char *arch,
	const struct image_progress *progress, struct error *err);
/* Removes the reference and the blobs that nothing uses any more; *freed_bytes may be NULL.
 * arch NULL: all architectures. -ENOENT; -EBUSY while an instance uses it. */
int image_remove(struct image_store *s, const char *ref, const char *arch, uint64_t *freed_bytes,
	struct error *err);
/* Gives all architectures of ref another name as well; what had that name loses it. -ENOENT;
 * -EINVAL: no name, or one with a digest. */
int image_tag(struct image_store *s, const char *ref, const char *name, struct error *err);

/* A step of an image's making, newest first. */
struct image_history {
	char *created, *created_by, *comment; /* "" when unknown */
	char digest[IMAGE_DIGEST_LEN + 1];    /* of the layer that it made, or "" */
	uint64_t size;			      /* bytes of that blob */
};
/* An image that says nothing about its making has a line for each layer. */
int image_history(struct image_store *s, const char *ref, const char *arch,
	struct image_history **out, size_t *n, struct error *err);
void image_history_free(struct image_history *list, size_t n);

/* Removes what no reference needs: blobs, layers, interrupted and cached downloads. With unused()
 * also the images for which it returns true, boot images never; those that are open stay. */
int image_prune(struct image_store *s, bool (*unused)(void *opaque, const char *ref), void *opaque,
	uint64_t *freed_bytes, struct error *err);

/* Removes downloaded packages and indexes. */
int image_cache_clean(struct image_store *s, uint64_t *freed_bytes, struct error *err);

const char *image_kind_name(enum image_kind kind); /* "image", "boot", "unconfigured" */
const char *image_host_arch(void);		   /* OCI name; "unknown" when there is none */
const char *image_store_home(const struct image_store *s);

#endif
