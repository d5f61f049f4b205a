// SPDX-License-Identifier: Apache-2.0
// A whole .deb as the image store reads it: ar, decompression, tar, control file.
#include "image/package.h"

#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct package p;
	struct package_data d;
	struct tar_entry e;
	int fd = memfd_create("deb", MFD_CLOEXEC);
	if (fd < 0 || write(fd, data, len) != (ssize_t)len)
		return 0;
	if (package_open(&p, fd, SLICE("p"), SLICE("1"), NULL) < 0)
		return 0;
	if (package_data_open(&d, &p, NULL) == 0) {
		while (tar_reader_next(&d.tar, &e, NULL) == 1)
			;
		package_data_done(&d);
	}
	package_done(&p);
	return 0;
}
