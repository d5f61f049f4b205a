// SPDX-License-Identifier: Apache-2.0
// The monitor: the process that is one virtual machine. Started by machine.c; it takes its
// specification from the control socket, gives up its privileges, runs the machine, and ends when
// the machine or the other end of that socket does.
#ifndef STRATA_INSTANCE_MONITOR_H
#define STRATA_INSTANCE_MONITOR_H

/* The whole life of the process; returns its exit status. Expects the control socket as descriptor
 * 3, as machine.c gives it. */
int monitor_main(void);

#endif
