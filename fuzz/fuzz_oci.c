// SPDX-License-Identifier: Apache-2.0
// OCI index, manifest and configuration: what parses must print and parse again.
#include "wire/oci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *text = (const char *)data;
	struct oci_index index;
	struct oci_manifest manifest;
	struct oci_config config;
	if (oci_index_parse(&index, text, len, NULL) == 0) {
		free(oci_index_print(&index));
		oci_index_done(&index);
	}
	if (oci_manifest_parse(&manifest, text, len, NULL) == 0) {
		char *again = oci_manifest_print(&manifest);
		oci_manifest_done(&manifest);
		if (oci_manifest_parse(&manifest, again, strlen(again), NULL) < 0)
			__builtin_trap();
		oci_manifest_done(&manifest);
		free(again);
	}
	if (oci_config_parse(&config, text, len, NULL) == 0) {
		free(oci_config_print(&config));
		oci_config_done(&config);
	}
	return 0;
}
