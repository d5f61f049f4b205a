// SPDX-License-Identifier: Apache-2.0
// What `spawn` runs.
int main(void)
{
	return 0;
}
