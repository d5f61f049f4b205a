// SPDX-License-Identifier: Apache-2.0
// A hostile driver for the fuzz targets of virtio devices. The input is a program for it: bytes
// that say which register to write, what to put where in guest memory, when to notify, reset, or
// save and restore the device. Rings may lie anywhere; START puts them at known places, so that
// DESC and AVAIL reach deep with few bytes.
#ifndef STRATA_FUZZ_VIRTIO_FUZZ_H
#define STRATA_FUZZ_VIRTIO_FUZZ_H

#include "device/virtio/transport.h"
#include "device/virtio/virtio.h"

enum {
	VF_RAM = 256 << 10,
	VF_QUEUE_BYTES = 0x2000, /* START: ring areas of queue q are at q * this */
	VF_DRIVER_AREA = 0x1000,
	VF_DEVICE_AREA = 0x1400,
	VF_STEPS_MAX = 400,
};
#define VF_BASE UINT64_C(0x80000000)

enum vf_op {
	VF_START,   /* features, log2 of size */
	VF_STATUS,  /* status */
	VF_ACCEPT,  /* half, 4 bytes */
	VF_QUEUE,   /* q, size, three addresses of 16 bytes units, enable? */
	VF_POKE,    /* address, length, bytes */
	VF_DESC,    /* q, slot, address in 64 bytes units, length, w12, w14 */
	VF_AVAIL,   /* q, head: split, and the index goes on */
	VF_NOTIFY,  /* q */
	VF_CONFIG,  /* offset, byte */
	VF_STATE,   /* saves and restores itself; damages a byte when asked */
	VF_RESET_Q, /* q */
	VF_HOST,    /* byte: what the host's side does */
	VF_OPS,
};

struct vf {
	const uint8_t *p, *end;
	struct memory *memory;
	struct loop *loop;
	struct virtio_device *device;
	void (*host)(struct vf *, uint8_t arg);
	void *opaque;
	uint8_t *ram;
	uint16_t avail[8];
};

static inline uint8_t vf_u8(struct vf *v)
{
	return v->p < v->end ? *v->p++ : 0;
}
static inline uint16_t vf_u16(struct vf *v)
{
	uint16_t lo = vf_u8(v);
	return (uint16_t)(lo | vf_u8(v) << 8);
}

static inline void vf_init(struct vf *v, const uint8_t *data, size_t size)
{
	memset(v, 0, sizeof(*v));
	v->p = data;
	v->end = data + size;
	if (memory_new(&v->memory, NULL) || loop_new(&v->loop, NULL) ||
		memory_add_ram(v->memory, GPA(VF_BASE), VF_RAM, NULL))
		abort();
	v->ram = memory_write_ptr(v->memory, GPA(VF_BASE), VF_RAM);
}

static inline void vf_done(struct vf *v)
{
	virtio_device_free(v->device);
	loop_free(v->loop);
	memory_free(v->memory);
}

static inline void vf_work(struct vf *v)
{
	for (int i = 0; i < 3; i++)
		loop_once(v->loop, 0, NULL);
}

static inline void vf_start(struct vf *v)
{
	struct virtio_device *d = v->device;
	uint8_t f = vf_u8(v);
	uint16_t size = (uint16_t)(1 << vf_u8(v) % 7);
	uint64_t ring = (f & 1 ? VIRTIO_F_RING_PACKED : 0) | (f & 2 ? VIRTIO_F_EVENT_IDX : 0) |
			(f & 4 ? VIRTIO_F_INDIRECT_DESC : 0) | (f & 8 ? VIRTIO_F_RING_RESET : 0);
	uint64_t features =
		ring | VIRTIO_F_VERSION_1 | (f & 16 ? 0 : virtio_device_offered(d) & 0xffffff);
	virtio_device_set_status(d, 0);
	vf_work(v);
	virtio_device_set_status(d, 3);
	features &= virtio_device_offered(d);
	virtio_device_accept(d, 0, (uint32_t)features);
	virtio_device_accept(d, 1, (uint32_t)(features >> 32));
	virtio_device_set_status(d, 11);
	for (unsigned q = 0; q < virtio_device_queue_count(d) && q < 8; q++) {
		uint64_t at = VF_BASE + q * VF_QUEUE_BYTES;
		struct virtio_queue_registers regs = {
			.size = size,
			.desc = GPA(at),
			.driver = GPA(at + VF_DRIVER_AREA),
			.device = GPA(at + VF_DEVICE_AREA),
		};
		virtio_queue_registers_set(d, q, &regs);
		virtio_queue_enable(d, q);
		v->avail[q] = 0;
	}
	virtio_device_set_status(d, 15);
	vf_work(v);
}

static inline void vf_queue(struct vf *v)
{
	unsigned q = vf_u8(v);
	struct virtio_queue_registers regs = {.size = vf_u16(v)};
	regs.desc = GPA(VF_BASE + vf_u16(v) * UINT64_C(16));
	regs.driver = GPA(VF_BASE + vf_u16(v) * UINT64_C(16));
	regs.device = GPA(VF_BASE + vf_u16(v) * UINT64_C(16));
	virtio_queue_registers_set(v->device, q, &regs);
	if (vf_u8(v) & 1)
		virtio_queue_enable(v->device, q);
}

static inline void vf_poke(struct vf *v)
{
	uint32_t at = (vf_u16(v) * 8u) % VF_RAM, len = vf_u8(v) % 64;
	for (uint32_t i = 0; i < len && at + i < VF_RAM; i++)
		v->ram[at + i] = vf_u8(v);
}

static inline void vf_desc(struct vf *v)
{
	uint32_t q = vf_u8(v) % 8, slot = vf_u8(v);
	uint8_t *p = v->ram + q * VF_QUEUE_BYTES + slot * 16;
	store_le64(p, VF_BASE + vf_u16(v) * UINT64_C(64));
	store_le32(p + 8, vf_u16(v));
	store_le16(p + 12, vf_u16(v));
	store_le16(p + 14, vf_u16(v));
}

static inline void vf_avail(struct vf *v)
{
	uint32_t q = vf_u8(v) % 8;
	struct virtio_queue_registers regs;
	uint8_t *p = v->ram + q * VF_QUEUE_BYTES + VF_DRIVER_AREA;
	if (!virtio_queue_registers_get(v->device, q, &regs) || !regs.size)
		return;
	store_le16(p + 4 + v->avail[q] % regs.size * 2, vf_u8(v));
	store_le16(p + 2, ++v->avail[q]);
}

static inline void vf_state(struct vf *v)
{
	struct strbuf saved = STRBUF_INIT;
	struct state *s = state_new_save(&saved);
	uint8_t damage = vf_u8(v);
	virtio_device_state(v->device, s);
	bool good = state_finish(s, NULL) == 0;
	state_free(s);
	if (good) {
		if (damage && saved.len)
			saved.data[(damage * 5u) % saved.len] ^= (char)vf_u8(v);
		s = state_new_restore(saved.data, saved.len);
		virtio_device_state(v->device, s);
		state_finish(s, NULL);
		state_free(s);
	}
	strbuf_done(&saved);
	vf_work(v);
}

static inline void vf_step(struct vf *v)
{
	struct virtio_device *d = v->device;
	uint32_t bits;
	uint8_t a, b;
	switch (vf_u8(v) % VF_OPS) {
	case VF_START:
		vf_start(v);
		break;
	case VF_STATUS:
		virtio_device_set_status(d, vf_u8(v));
		vf_work(v);
		break;
	case VF_ACCEPT:
		a = vf_u8(v);
		bits = vf_u16(v);
		virtio_device_accept(d, a, bits | (uint32_t)vf_u16(v) << 16);
		break;
	case VF_QUEUE:
		vf_queue(v);
		break;
	case VF_POKE:
		vf_poke(v);
		break;
	case VF_DESC:
		vf_desc(v);
		break;
	case VF_AVAIL:
		vf_avail(v);
		break;
	case VF_NOTIFY:
		virtio_device_notify(d, vf_u8(v) % 10);
		vf_work(v);
		break;
	case VF_CONFIG:
		a = vf_u8(v);
		b = vf_u8(v);
		virtio_device_config_write(d, a, &b, 1);
		virtio_device_config_read(d, a, &bits, sizeof(bits));
		break;
	case VF_STATE:
		vf_state(v);
		break;
	case VF_RESET_Q:
		virtio_queue_ask_reset(d, vf_u8(v));
		vf_work(v);
		break;
	case VF_HOST:
		a = vf_u8(v);
		if (v->host)
			v->host(v, a);
		vf_work(v);
		break;
	}
}

static inline void vf_run(struct vf *v)
{
	for (int i = 0; i < VF_STEPS_MAX && v->p < v->end; i++)
		vf_step(v);
	vf_work(v);
}

#endif
