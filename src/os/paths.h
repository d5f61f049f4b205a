// SPDX-License-Identifier: Apache-2.0
// Where things are kept. The caller frees what is returned.
#ifndef STRATA_OS_PATHS_H
#define STRATA_OS_PATHS_H

#include "base/error.h"

/* $STRATA_HOME, else $XDG_DATA_HOME/strata, else ~/.local/share/strata; absolute, without a
 * trailing slash. Nothing is made. */
int paths_home(char **out, struct error *err);

#endif
