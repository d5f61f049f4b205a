// SPDX-License-Identifier: Apache-2.0
#include "instance/agent_image.h"

#include "wire/cpio.h"

int agent_initramfs(const char *arch, struct strbuf *out, struct error *err)
{
	const struct embedded *e = agent_images;
	while (e->name && strcmp(e->name, arch))
		e++;
	if (!e->name)
		return error_set(err, ENOENT, "this build has no agent for %s guests", arch);
	/* The kernel opens /dev/console for init before anything mounts /dev. */
	cpio_add_dir(out, "dev", 0755);
	cpio_add_node(out, "dev/console", 0020600, 5, 1);
	cpio_add_file(out, "init", 0755, e->bytes, e->len);
	cpio_add_trailer(out);
	return 0;
}
