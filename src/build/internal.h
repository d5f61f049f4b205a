// SPDX-License-Identifier: Apache-2.0
// Inside of the builder.
#ifndef STRATA_BUILD_INTERNAL_H
#define STRATA_BUILD_INTERNAL_H

#include <jansson.h>

#include "base/vec.h"
#include "build/build.h"
#include "image/digest.h"
#include "instance/container.h"
#include "wire/containerfile.h"
#include "wire/tar.h"

/* --- names that are left out of the context: .containerignore, .dockerignore --- */
struct ignore_rule {
	char *pattern; /* clean: no slash at either end */
	bool except;
};
struct ignore {
	VEC(struct ignore_rule) rules;
};
void ignore_parse(struct ignore *out, const char *text);
void ignore_done(struct ignore *g);
/* path: clean, relative to the context. */
bool ignore_match(const struct ignore *g, const char *path);
/* As a shell's pattern, where ** stands for any directories. */
bool ignore_pattern_match(const char *pattern, const char *path);

/* --- copying into a tree --- */
struct copy {
	int from_root, to_root;	     /* directories that no path leads out of */
	const struct ignore *ignore; /* of paths below from_root; or NULL */
	int64_t uid, gid;	     /* -1: as in the source */
	int64_t mode;		     /* -1: as in the source */
};
/* Opens what a path leads to below root. */
int copy_open(int root, const char *path, uint64_t flags);
/* Opens a directory below root; links lead to places below it. make: what is missing, as root,
 * 0755. */
int copy_open_dir(int root, const char *path, bool make, struct error *err);
/* Paths below from_root that the pattern fits, sorted. */
typedef VEC(char *) copy_names;
void copy_names_done(copy_names *n);
int copy_find(const struct copy *c, const char *pattern, copy_names *out, struct error *err);
/* A file becomes to/name, a directory's contents go into to. */
int copy_path(const struct copy *c, const char *from, int to, const char *name, struct error *err);
int copy_is_dir(const struct copy *c, const char *from, struct error *err);
/* Names, modes, contents; not times. */
int copy_digest(const struct copy *c, const char *from, struct digest *d, struct error *err);

/* --- what a step did to its tree --- */
struct diff {
	int upper;	/* of an overlayfs with "userxattr" */
	int64_t time_s; /* nothing is newer */
};
int diff_write(void *diff, struct tar_writer *w, struct error *err); /* image_layer_fn */

/* --- a tree to work on: an instance that is gone afterwards --- */
struct work {
	struct instance *instance;
	struct container container;
	int root; /* the tree, with the image's layers below */
	int upper;
};
#define WORK_INIT ((struct work){.container = CONTAINER_INIT, .root = -1, .upper = -1})
struct build;
/* image NULL: an empty tree. */
int work_open(struct work *w, struct build *b, struct image *image, struct error *err);
void work_close(struct work *w);

/* --- a build --- */
struct stage {
	char *name; /* or NULL */
	unsigned number;
	struct image *image; /* as far as it is; NULL: nothing yet */
	json_t *config;
	char key[DIGEST_HEX_LEN + 1]; /* of all that has led here */
	containerfile_words args;     /* name, value (NULL: none) … of ARG */
	containerfile_words shell;
	bool cmd_set; /* CMD was given here */
};

struct build {
	const struct build_options *o;
	const char *arch;
	struct containerfile file;
	struct ignore ignore;
	int context;
	int64_t time_s;
	containerfile_words globals; /* ARG before FROM */
	VEC(struct stage *) stages;
	unsigned step, steps;
};

struct stage *build_stage(const struct build *b, const char *name); /* NULL: there is none */
const char *stage_env(const struct stage *s, const char *name);
json_t *stage_section(struct stage *s); /* "config" of the configuration */
struct containerfile_scope stage_scope(const struct build *b, struct stage *s);
/* The step's key: what led here and what is new. */
void stage_key_add(struct stage *s, const char *const *texts, size_t n);
/* True when the step that leads to the stage's key is in the store; then it is the image. */
bool stage_cached(struct build *b, struct stage *s, const char *created_by);
/* The stage's image is now this one with what the work did; with the key as its name. */
int stage_commit(struct build *b, struct stage *s, struct work *w, const char *created_by,
	struct error *err);
void stage_history(struct build *b, struct stage *s, const char *created_by, bool empty);

/* step_*.c: what instructions do. */
int step_config(
	struct build *b, struct stage *s, const struct containerfile_ins *i, struct error *err);
int step_run(
	struct build *b, struct stage *s, const struct containerfile_ins *i, struct error *err);
int step_copy(
	struct build *b, struct stage *s, const struct containerfile_ins *i, struct error *err);
int step_workdir(
	struct build *b, struct stage *s, const struct containerfile_ins *i, struct error *err);

#endif
