// SPDX-License-Identifier: Apache-2.0
// Products of matrices, double: loads, and multiplications that are added.
#define REAL double
#include "matmul.h"
