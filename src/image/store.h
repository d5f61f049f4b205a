// SPDX-License-Identifier: Apache-2.0
// Inside of the image store: directories, locks, blobs, the index. For the files of image/ only.
//
// Locks, always taken in this order:
//   pull      one process at a time adds blobs or downloads; held over a whole pull, so that the
//             collector never meets a blob that is not referenced yet
//   index     index.json: shared to open an image, exclusive to change it; held for moments
//   blob      shared by whoever has the image open; image_remove() probes it
#ifndef STRATA_IMAGE_STORE_H
#define STRATA_IMAGE_STORE_H

#include "image/digest.h"
#include "image/image.h"
#include "wire/oci.h"

#define BOOT_ARTIFACT_TYPE  "application/vnd.strata.boot.v1+json"
#define BOOT_KERNEL_TYPE    "application/vnd.strata.boot.kernel.v1"
#define BOOT_INITRAMFS_TYPE "application/vnd.strata.boot.initramfs.v1.cpio"
#define BOOT_BUSYBOX_TYPE   "application/vnd.strata.boot.busybox.v1"
#define ANNOTATION_REF	    "org.opencontainers.image.ref.name"
#define ANNOTATION_CREATED  "org.opencontainers.image.created"
#define ANNOTATION_STATE    "vnd.strata.state" /* "unconfigured", "step" or absent */
#define ANNOTATION_KERNEL   "vnd.strata.kernel.version"
/* The index that the manifest came from, which is kept for a push; and its size in bytes. */
#define ANNOTATION_INDEX      "vnd.strata.index"
#define ANNOTATION_INDEX_SIZE "vnd.strata.index.size"

struct image_store {
	char *home, *images, *cache; /* absolute paths */
	char *mirror;		     /* or NULL: look into apt_dir */
	char *keyring, *apt_dir;
	int pull_fd;	     /* the pull lock, -1 while it is not held */
	unsigned pull_depth; /* nested image_pull() and boot_pull() */
	_Atomic unsigned next_temp;
};

/* Errors of the store's own files get a remedy that fits the code. */
int store_error(const struct image_store *s, struct error *err, int code, const char *path,
	const char *what);
int store_mkdirs(const struct image_store *s, const char *path, struct error *err);
/* Writes a small file so that it is whole or absent after any crash. */
int store_write_file(
	struct image_store *s, const char *path, const void *bytes, size_t len, struct error *err);
/* Reads a file of at most limit bytes. -ENOENT without words when it is missing. */
int store_read_file(const char *path, uint64_t limit, struct strbuf *out, struct error *err);

/* Returns a descriptor that holds the index lock; close it to unlock. operation: LOCK_SH, LOCK_EX.
 */
int store_lock_index(struct image_store *s, int operation, struct error *err);
/* Nests. wait false: -EAGAIN when another process pulls. */
int store_lock_pull(
	struct image_store *s, bool wait, const struct image_progress *progress, struct error *err);
void store_unlock_pull(struct image_store *s);

/* The index lock must be held. A missing index is an empty one. */
int store_index_load(struct image_store *s, struct oci_index *out, struct error *err);
int store_index_save(struct image_store *s, const struct oci_index *index, struct error *err);
/* Takes both locks, replaces what has the same ref, arch and kind, takes *d over. */
int store_index_put(struct image_store *s, struct oci_descriptor *d, struct error *err);
/* Removes blobs that the index does not reach and leftovers of killed writers. Needs the pull lock
 * and the index lock. */
int store_collect(
	struct image_store *s, const struct oci_index *index, uint64_t *freed, struct error *err);

enum image_kind descriptor_kind(const struct oci_descriptor *d);
/* NULL when there is none. arch NULL: any. */
struct oci_descriptor *store_find(
	struct oci_index *index, const char *ref, const char *arch, enum image_kind kind);
/* "debian" -> "debian:trixie"; -EINVAL for what is no reference. */
int ref_complete(const char *ref, char **out, struct error *err);
/* "debian:trixie" -> "debian-boot:trixie" */
int ref_boot(const char *ref, char **out, struct error *err);

/* Removes the files of a directory; a missing one is empty. */
int store_empty_dir(struct image_store *s, const char *path, uint64_t *freed, struct error *err);
/* Somebody who has the image open holds a shared lock on its manifest. */
bool store_in_use(struct image_store *s, const struct oci_descriptor *d);
struct oci_descriptor descriptor_copy(const struct oci_descriptor *d);
/* Replaces an annotation. */
void descriptor_annotate(struct oci_descriptor *d, const char *key, const char *value);
/* "" when there is none. */
const char *descriptor_ref(const struct oci_descriptor *d);

int image_open_unconfigured(struct image_store *s, const char *ref, const char *arch,
	struct image **out, struct error *err);

/* A blob being written; committed under the digest of what was written. [one thread each] */
struct blob_writer {
	struct image_store *store;
	const char *dir;  /* below images/; NULL: blobs/sha256 */
	const char *want; /* the digest that it must have, or NULL */
	int fd;		  /* -1: closed */
	char *temp;
	struct digest digest;
	uint64_t size, limit; /* bytes; limit 0: none */
	size_t buffered;
	char *buffer;
};
int blob_writer_open(struct blob_writer *w, struct image_store *s, struct error *err);
/* opaque: the blob_writer. Has the type of tar_write_fn. */
int blob_writer_write(void *writer, const void *bytes, size_t len, struct error *err);
/* Afterwards all that was written can be read from w->fd. */
int blob_writer_flush(struct blob_writer *w, struct error *err);
/* Fills media_type, digest and size of *out. -EBADMSG when it is not what was wanted. */
int blob_writer_commit(struct blob_writer *w, const char *media_type, struct oci_descriptor *out,
	struct error *err);
void blob_writer_done(struct blob_writer *w); /* drops what was not committed */
int blob_put(struct image_store *s, const void *bytes, size_t len, const char *media_type,
	struct oci_descriptor *out, struct error *err);
/* Opens for reading and checks the size. -EBADMSG: missing or wrong size. *path may be NULL. */
int blob_open(
	struct image_store *s, const char *digest, uint64_t size, char **path, struct error *err);
/* layer.c: a layer's tar, uncompressed: the blob itself, or images/layers/HEX with HEX of its
 * diff_id. What is missing or was changed is made again from the blob: the pull lock or the index
 * lock must be held. Returns a descriptor. */
int layer_open(struct image_store *s, const struct oci_descriptor *d, const char *diff_id,
	char **path, struct error *err);
/* Media types of layers that can be unpacked; what else there is are artifacts. */
bool layer_type_ok(const char *media_type);
/* Unpacks the compressed layer that fd holds, whole, into images/layers/; compares both digests.
 * -EBADMSG with *blob_bad: fd does not hold what d says. bytes() may be NULL: compressed bytes that
 * were read. [any thread] */
int layer_unpack(struct image_store *s, int fd, const struct oci_descriptor *d, const char *diff_id,
	uint64_t limit_bytes, bool *blob_bad, void (*bytes)(void *opaque, uint64_t n), void *opaque,
	struct error *err);
/* True when layer_open() would need no work. */
bool layer_ready(struct image_store *s, const char *diff_id);
/* What an uncompressed layer may have. */
#define LAYER_BYTES_MAX (64 * GiB)

/* verified.c: compares the blob's digest and remembers that this file, as it is, was good.
 * -EBADMSG: it is damaged. bytes() may be NULL. */
int blob_verify(struct image_store *s, const char *digest, int fd,
	void (*bytes)(void *opaque, uint64_t n), void *opaque, struct error *err);
/* The same, unless this file was found good and has not changed since. */
int blob_verify_changed(struct image_store *s, const char *digest, int fd, struct error *err);
void blob_note_verified(const struct image_store *s, const char *digest, int fd); /* just written */
/* Reads a document and checks its digest. */
int blob_read(struct image_store *s, const struct oci_descriptor *d, struct strbuf *out,
	struct error *err);

void progress_stage(const struct image_progress *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
void progress_bytes(const struct image_progress *p, uint64_t done, uint64_t total);

/* An architecture and how Debian names it; NULL for one that we have no images for. */
struct image_arch {
	const char *name;    /* OCI */
	const char *machine; /* uname -m */
	const char *debian;
	const char *linux_image; /* package that depends on the kernel */
	const char *kernel_glob; /* beginning of the kernel's name in /boot */
};
const struct image_arch *image_arch_find(const char *name);

#endif
