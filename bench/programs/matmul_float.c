// SPDX-License-Identifier: Apache-2.0
// Products of matrices, float: loads, and multiplications that are added.
#define REAL float
#include "matmul.h"
