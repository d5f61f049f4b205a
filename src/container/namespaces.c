// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <linux/sched.h>
#include <sys/ioctl.h>

#include "container/launch.h"

#ifndef NS_GET_NSTYPE
#define NS_GET_NSTYPE _IO(0xb7, 0x3)
#endif

unsigned long namespace_flag(enum namespace_kind k)
{
	static const unsigned long flags[NAMESPACES] = {[NAMESPACE_USER] = CLONE_NEWUSER,
		[NAMESPACE_PID] = CLONE_NEWPID,
		[NAMESPACE_NET] = CLONE_NEWNET,
		[NAMESPACE_IPC] = CLONE_NEWIPC,
		[NAMESPACE_UTS] = CLONE_NEWUTS,
		[NAMESPACE_CGROUP] = CLONE_NEWCGROUP,
		[NAMESPACE_TIME] = CLONE_NEWTIME,
		[NAMESPACE_MOUNT] = CLONE_NEWNS};
	return flags[k];
}

int namespaces_open(const struct spec *s, int joins[NAMESPACES], struct error *err)
{
	for (int k = 0; k < NAMESPACES; k++) {
		const char *path = s->namespaces[k].path,
			   *name = spec_namespace_name((enum namespace_kind)k);
		if (!path)
			continue;
		joins[k] = open(path, O_RDONLY | O_CLOEXEC);
		if (joins[k] < 0)
			return error_errno(err, errno, "%s namespace %s", name, path);
		int type = ioctl(joins[k], NS_GET_NSTYPE);
		if (type < 0 || (unsigned long)type != namespace_flag((enum namespace_kind)k))
			return error_set(err, EINVAL, "%s is not a %s namespace", path, name);
	}
	return 0;
}
