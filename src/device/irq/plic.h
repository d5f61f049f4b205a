// SPDX-License-Identifier: Apache-2.0
// The RISC-V platform-level interrupt controller (RISC-V PLIC specification 1.0.0; device tree
// "sifive,plic-1.0.0"). Every source is level-triggered; every context is one hart's S-mode.
//
// Registers are for any vCPU thread, plic_line() lines for any thread.
#ifndef STRATA_DEVICE_IRQ_PLIC_H
#define STRATA_DEVICE_IRQ_PLIC_H

#include "device/bus.h"
#include "wire/state.h"

struct plic;

enum {
	PLIC_SOURCES = 127, /* numbered from 1; 0 means "none" */
	PLIC_CONTEXTS_MAX = 64,
	PLIC_PRIORITY_MAX = 7,
};
#define PLIC_BYTES UINT64_C(0x400000) /* of address space: room for 512 contexts */

/* outputs[i] is context i's external interrupt line. Registers itself on the bus. */
int plic_new(struct plic **out, struct bus *bus, gpa_t base, const struct irq_line *outputs,
	unsigned contexts, struct error *err);
void plic_free(struct plic *p); /* no vCPU runs and no device raises its line */
void plic_reset(struct plic *p);
struct irq_line plic_line(struct plic *p, unsigned source); /* 1..PLIC_SOURCES */
void plic_state(struct plic *p, struct state *s);

#endif
