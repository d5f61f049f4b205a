// SPDX-License-Identifier: Apache-2.0
#include "cli/configure.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "container/userns.h"
#include "instance/container.h"

void configure_words_done(struct configure_words *w)
{
	strbuf_done(&w->line);
	strbuf_done(&w->last);
}

/* "Setting up libc6:riscv64 (2.41-12) ..." */
static void show_line(struct meter *p, struct configure_words *w)
{
	struct strbuf *line = &w->line, *last = &w->last;
	const char *text = line->data ? line->data : "";
	if (!strncmp(text, "To configure: ", 14))
		w->total = strtoul(text + 14, NULL, 10) & 0xffff;
	else if (!strncmp(text, "Setting up ", 11))
		meter_items(p, ++w->done, w->total, "packages configured");
	if (line->len) {
		strbuf_clear(last);
		strbuf_adds(last, line->data);
	}
	strbuf_clear(line);
}

void configure_words_take(struct configure_words *w, struct meter *p, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] == '\n')
			show_line(p, w);
		else if (w->line.len < 200 && (unsigned char)bytes[i] >= ' ')
			strbuf_addc(&w->line, bytes[i]);
	}
}

int configure_failed(const struct configure_words *w, int status, struct error *err)
{
	error_set(err, EIO, "the guest's dpkg ended with status %d: %s", status,
		w->last.data ? w->last.data : "");
	error_remedy(err, "all it said is in configure.log in Strata's home directory");
	return -EIO;
}

int configure_open_log(const char *home, struct error *err)
{
	char *path _free_ = xasprintf("%s/configure.log", home);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	return fd < 0 ? error_errno(err, errno, "%s", path) : fd;
}

/* In a container. */

bool image_is_foreign(const struct image *image)
{
	return strcmp(image->arch, image_host_arch()) != 0;
}

static int start(struct container *c, const struct container_configure *o,
	const struct image *image, int tar_fd, int words, struct error *err)
{
	static const char *const argv[] = {"/bin/sh", IMAGE_CONFIGURE_PATH, NULL};
	const struct bundle_options b = {.argv = argv,
		.hostname = "localhost",
		.network = BUNDLE_NETWORK_NONE,
		.arch = image_is_foreign(image) ? image->arch : NULL,
		.capabilities = bundle_default_capabilities,
		.one_id = o->one_id,
		.rootless = !userns_is_host(),
		.tree_at_mnt = true};
	const int stdio[] = {-1, tar_fd, words};
	return container_start(c, &b, stdio, err);
}

/* Until nobody can say anything any more. */
static void listen_to(int from, int log_fd, struct configure_words *w, struct meter *meter)
{
	char buf[4096];
	struct pollfd p = {from, POLLIN, 0};
	for (;;) {
		if (poll(&p, 1, 100) == 0) {
			meter_tick(meter);
			continue;
		}
		ssize_t n = read(from, buf, sizeof(buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || write(log_fd, buf, (size_t)n) != n)
			return;
		configure_words_take(w, meter, buf, (size_t)n);
	}
}

static int configure(struct container *c, const struct container_configure *o,
	const struct image *image, int tar_fd, int log_fd, struct error *err)
{
	struct configure_words words CLEANUP(configure_words_done) = {
		STRBUF_INIT, STRBUF_INIT, 0, 0};
	int pipe_fds[2], exit_status;
	int r = container_prepare(c, o->store, image, true, &o->meter->callbacks, err);
	if (r < 0)
		return r;
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return error_errno(err, errno, "pipe");
	meter_stage(o->meter, "Configuring the packages in a container");
	r = start(c, o, image, tar_fd, pipe_fds[1], err);
	close(pipe_fds[1]);
	if (r == 0)
		listen_to(pipe_fds[0], log_fd, &words, o->meter);
	close(pipe_fds[0]);
	if (r < 0)
		return r;
	int status = container_reap(c, &exit_status, err);
	if (status < 0)
		return status;
	return status ? configure_failed(&words, status, err) : 0;
}

int container_configure_image(
	void *opaque, const struct image *unconfigured, int tar_fd, struct error *err)
{
	struct container_configure *o = opaque;
	struct instance *instance = NULL;
	struct container c CLEANUP(container_done) = CONTAINER_INIT;
	struct instance_config config = {.image = unconfigured->ref,
		.level = (char *)(uintptr_t) "container",
		.arch = unconfigured->arch,
		.command = (char *)(uintptr_t) "(configuring the image)",
		.created_s = (uint64_t)time(NULL),
		.remove = true};
	int log_fd _close_ = configure_open_log(o->home, err);
	if (log_fd < 0)
		return log_fd;
	int r = instance_create(o->home, NULL, &config, &instance, err);
	if (r < 0)
		return r;
	c.home = o->home;
	c.instance = instance;
	r = configure(&c, o, unconfigured, tar_fd, log_fd, err);
	container_done(&c);
	instance_remove_own(instance, NULL);
	instance_free(instance);
	return r;
}
