// SPDX-License-Identifier: Apache-2.0
// Names of images: [HOST[:PORT]/]NAME[:TAG][@DIGEST], the grammar of the OCI distribution
// specification 1.1 ("Pulling manifests") where there is a host. The part before the first slash is
// a host when it has a dot or a colon, or is "localhost". A name without a host
// is local. Thread: the caller's.
#ifndef STRATA_WIRE_REFERENCE_H
#define STRATA_WIRE_REFERENCE_H

#include "base/error.h"

#define REFERENCE_MAX 512 /* bytes of a whole reference */

struct reference {
	char *host;   /* "127.0.0.1:5000"; NULL: a local name */
	char *name;   /* without host: "library/debian" */
	char *tag;    /* or NULL */
	char *digest; /* "sha256:…", or NULL */
};

/* -EINVAL: no reference. *out holds nothing then. Docker Hub's short forms are made complete:
 * "docker.io/debian" is docker.io/library/debian. */
int reference_parse(struct reference *out, const char *text, struct error *err);
void reference_done(struct reference *r);
/* "HOST/NAME@DIGEST" when there is a digest, else "HOST/NAME:TAG" (TAG: "latest" when there is
 * none). */
char *reference_print(const struct reference *r);
/* A host that a registry may be asked at: a DNS name, IPv4 or [IPv6], and perhaps a port. */
bool reference_host_ok(const char *host);
/* 127.0.0.0/8, ::1, localhost: no network lies between us and it. */
bool reference_host_loopback(const char *host);

#endif
