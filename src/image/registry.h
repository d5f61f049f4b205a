// SPDX-License-Identifier: Apache-2.0
// Talking to a registry: OCI distribution specification 1.1. For the files of image/ only.
//
// A struct registry is one repository at one place (the registry itself, or a mirror of it). All
// traffic goes through the download helper (fetch.h). Credentials go to the place itself, to the
// token service that the place names in its own answer, and nowhere else. Belongs to one thread;
// the process must have one thread when a function is called (fork).
#ifndef STRATA_IMAGE_REGISTRY_H
#define STRATA_IMAGE_REGISTRY_H

#include "image/fetch.h"
#include "image/store.h"
#include "wire/reference.h"

/* Where a host's images can be got, from registries.json (docs/images.md). */
struct registry_place {
	char *host;   /* "mirror.example:5000" */
	char *prefix; /* of repository names there: "hub/", or "" */
	char *ca_file;
	bool http;	/* no TLS at all */
	bool no_verify; /* TLS with anybody */
};

/* The mirrors of host, in their order, and the host itself, last. -EBADMSG: a bad file. */
int registry_places(const char *host, struct registry_place **out, size_t *n, struct error *err);
void registry_places_free(struct registry_place *places, size_t n);

/* What the user knows about a host, from the auth files. Empty when there is nothing. */
struct registry_credentials {
	char *user, *password, *identity_token;
};
int registry_credentials_load(
	struct registry_credentials *out, const char *host, const char *name, struct error *err);
void registry_credentials_done(struct registry_credentials *c);

struct registry {
	const struct registry_place *place;
	char *name;	       /* of the repository there */
	char *base;	       /* "https://127.0.0.1:5000" */
	char *scope;	       /* "repository:NAME:pull"; NULL: none */
	char *extra_scope;     /* of a repository to mount blobs from, or NULL */
	char *service, *realm; /* of the bearer token; NULL: no token */
	struct registry_credentials credentials;
	char *authorization; /* what is sent with each call, or NULL */
};

/* What a connection is for. */
struct registry_purpose {
	const char *repository; /* NULL: none (login) */
	bool push;
	const char *mount_from; /* another repository there, whose blobs are read; or NULL */
	const struct registry_credentials *credentials; /* NULL: those of the auth files */
};
/* Finds out how to talk to the place. Empties *r when it fails. */
int registry_open(struct registry *r, const struct registry_place *place,
	const struct registry_purpose *purpose, struct error *err);
void registry_done(struct registry *r);

struct registry_call {
	const char *method; /* NULL: GET */
	char *url;	    /* owned */
	const char *const *headers;
	int fd; /* see fetch.h; -1: no body wanted */
	uint64_t have, limit;
	int body_fd; /* -1: nothing is sent */
	uint64_t body_offset, body_bytes;
	/* Results. */
	int result;
	unsigned status;
	struct strbuf head;
	char message[160];
};
#define REGISTRY_CALL ((struct registry_call){.fd = -1, .body_fd = -1})
void registry_call_done(struct registry_call *c);

/* Runs them all at once. When a token is missing or has expired, gets one and repeats what was
 * refused, once. 0: each has an answer, whatever its status. */
int registry_run(struct registry *r, struct registry_call *calls, size_t n,
	void (*bytes)(void *opaque, int64_t n), void *opaque, struct error *err);
/* The same; a call that got no answer has its result and is no error. */
int registry_try(struct registry *r, struct registry_call *calls, size_t n,
	void (*bytes)(void *opaque, int64_t n), void *opaque, struct error *err);
/* Says why a call got no answer; returns c->result. */
int registry_transport_error(
	const struct registry *r, const struct registry_call *c, struct error *err);
/* 0 when the status is one of 200 to 299; otherwise says what the registry says about `what`.
 * -EACCES, -ENOENT, -EBUSY (too many requests), -EIO. */
int registry_check(const struct registry *r, const struct registry_call *c, const char *what,
	struct error *err);
/* A document: its body is appended to *body. headers may be NULL. c is the caller's to end. */
int registry_get(struct registry *r, struct registry_call *c, const char *what, uint64_t limit,
	struct strbuf *body, struct error *err);
/* Makes what the server calls Location absolute. NULL when it leads to another scheme or is none.
 */
char *registry_location(const struct registry_call *c);

/* The documents that we can read. */
#define REGISTRY_ACCEPT                                                                            \
	"Accept: " OCI_TYPE_INDEX ", " OCI_TYPE_MANIFEST ", " DOCKER_TYPE_INDEX                    \
	", " DOCKER_TYPE_MANIFEST

/* registry_pull.c: the manifest and all blobs of ref for arch into the store, and the reference
 * into its index. The pull lock is held. */
int registry_pull(struct image_store *s, const struct reference *ref, const char *arch,
	const struct image_progress *progress, struct error *err);

/* registry_upload.c: brings blobs of the store into r's repository, those that it lacks. */
struct registry_blob {
	const struct oci_descriptor *d;
	bool mount; /* mount_from has it */
};
int registry_upload(struct registry *r, struct image_store *s, const char *mount_from,
	const struct registry_blob *blobs, size_t n, const struct image_progress *progress,
	struct error *err);

/* registry_blobs.c: one layer of an image that is being fetched. */
struct registry_layer {
	const struct oci_descriptor *d;
	const char *diff_id;
};
/* Downloads and unpacks what the store lacks; layers that appear twice are fetched once. */
int registry_layers(struct registry *r, struct image_store *s, const struct registry_layer *layers,
	size_t n, const struct image_progress *progress, struct error *err);

#endif
