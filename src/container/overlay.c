// SPDX-License-Identifier: Apache-2.0
#include "container/overlay.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/strbuf.h"

int overlay_unshare(struct error *err)
{
	if (unshare(CLONE_NEWNS) < 0)
		return error_errno(err, errno, "make a mount namespace");
	if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		return error_errno(err, errno, "make the mounts ours");
	return 0;
}

static int link_to(const char *path, const char *name, struct error *err)
{
	return symlink(path, name) < 0 ? error_errno(err, errno, "%s", path) : 0;
}

/* In a directory of short names: the options fit a page whatever the paths are, and no character of
 * a path means anything. */
static int mount_here(const struct overlay *o, const char *target, struct error *err)
{
	struct strbuf data _strbuf_ = STRBUF_INIT;
	char name[24];
	int r = link_to(o->upper, "u", err);
	if (r == 0)
		r = link_to(o->work, "w", err);
	strbuf_adds(&data, "userxattr,upperdir=u,workdir=w");
	strbuf_addf(&data, "%s,lowerdir=", o->is_volatile ? ",volatile" : "");
	for (size_t i = o->n_lower; r == 0 && i-- > 0;) {
		snprintf(name, sizeof(name), "%zu", i);
		r = link_to(o->lower[i], name, err);
		strbuf_addf(&data, "%s%s", name, i ? ":" : "");
	}
	if (r < 0)
		return r;
	/* What an image calls a device is none; /dev is a mount of its own. */
	if (mount("overlay", target, "overlay", MS_NODEV, data.data) < 0) {
		int code = errno;
		error_errno(err, code, "mount the layers");
		if (code == ENODEV)
			error_remedy(err, "this kernel has no overlayfs: modprobe overlay");
		else if (code == EPERM)
			error_remedy(err, "overlayfs in a user namespace needs Linux 5.11");
		else if (code == EINVAL)
			error_remedy(err,
				"the file system of the upper layer may not be fit for it: let "
				"STRATA_HOME name a directory on ext4, xfs or btrfs");
		return -code;
	}
	return 0;
}

int overlay_mount(const struct overlay *o, const char *target, struct error *err)
{
	if (!o->n_lower || o->n_lower > OVERLAY_LOWER_MAX)
		return error_set(err, E2BIG, "%zu layers; between 1 and %d are possible",
			o->n_lower, OVERLAY_LOWER_MAX);
	int old _close_ = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* Below the overlay itself, which then covers it. */
	if (mount("tmpfs", target, "tmpfs", MS_NODEV | MS_NOSUID | MS_NOEXEC, "mode=700") < 0)
		return error_errno(err, errno, "mount at %s", target);
	int r = chdir(target) < 0 ? error_errno(err, errno, "%s", target)
				  : mount_here(o, target, err);
	if (r < 0)
		umount2(target, MNT_DETACH);
	if (old < 0 || fchdir(old) < 0)
		r = r < 0 ? r : error_errno(err, errno, "working directory");
	return r;
}
