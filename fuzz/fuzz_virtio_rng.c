// SPDX-License-Identifier: Apache-2.0
#include "virtio_fuzz.h"
#include "device/virtio/devices.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vf v;
	vf_init(&v, data, size);
	if (virtio_rng_new(&v.device, v.memory, v.loop, NULL))
		abort();
	vf_run(&v);
	vf_done(&v);
	return 0;
}
