// SPDX-License-Identifier: Apache-2.0
// Resources of config.json as writes to cgroup files: config-linux.md of the runtime specification,
// cgroup-v1/ and cgroup-v2.rst of the kernel's documentation.
#include <stdio.h>

#include "container/cgroup.h"

struct target {
	const struct cgroup *cg;
	struct error *err;
};

static int put(struct target *t, const char *controller, const char *v1_file, const char *v2_file,
	const char *v1, const char *v2)
{
	bool is_v2;
	const struct cgroup_dir *d = cgroup_controller(t->cg, controller, &is_v2, t->err);
	if (!d)
		return -ENOTSUP;
	if (is_v2)
		return v2_file ? cgroup_write(d, v2_file, v2, t->err) : 0;
	return v1_file ? cgroup_write(d, v1_file, v1, t->err) : 0;
}

static const char *number(char *text, int64_t v)
{
	sprintf(text, "%lld", (long long)v);
	return text;
}

static const char *number_or_max(char *text, int64_t v)
{
	return v < 0 ? "max" : number(text, v);
}

static int set(struct target *t, int64_t v, const char *controller, const char *v1_file,
	const char *v2_file)
{
	char a[32], b[32];
	if (v == SPEC_UNSET)
		return 0;
	return put(t, controller, v1_file, v2_file, number(a, v), number_or_max(b, v));
}

static int memory_v1(struct target *t, const struct cgroup_dir *d, const struct spec_resources *r)
{
	static const char limit[] = "memory.limit_in_bytes", swap[] = "memory.memsw.limit_in_bytes";
	char a[32], b[32];
	int rc = 0;
	if (r->memory_limit != SPEC_UNSET && r->memory_swap != SPEC_UNSET) {
		number(a, r->memory_limit);
		number(b, r->memory_swap);
		/* Memory may never be above memory plus swap, on the way either. */
		rc = cgroup_write(d, limit, a, NULL);
		if (rc == 0)
			return cgroup_write(d, swap, b, t->err);
		rc = cgroup_write(d, swap, b, t->err);
		return rc < 0 ? rc : cgroup_write(d, limit, a, t->err);
	}
	if (r->memory_limit != SPEC_UNSET) {
		number(a, r->memory_limit);
		rc = cgroup_write(d, limit, a, r->memory_limit < 0 ? NULL : t->err);
		/* "Unlimited" lifts what memory plus swap has, too. */
		if (rc < 0 && r->memory_limit < 0) {
			cgroup_write(d, swap, a, NULL);
			rc = cgroup_write(d, limit, a, t->err);
		}
	}
	if (rc == 0 && r->memory_swap != SPEC_UNSET)
		rc = cgroup_write(d, swap, number(b, r->memory_swap), t->err);
	return rc;
}

static int memory_v2(struct target *t, const struct cgroup_dir *d, const struct spec_resources *r)
{
	char a[32];
	int rc = 0;
	if (r->memory_swap != SPEC_UNSET && r->memory_swap != 0) {
		/* config.json counts memory plus swap, v2 swap alone. */
		int64_t v = r->memory_swap;
		if (v > 0 && (r->memory_limit == SPEC_UNSET || r->memory_limit < 0 ||
				     v < r->memory_limit))
			return error_set(t->err, EINVAL,
				"memory: the limit of memory plus swap needs a smaller limit of "
				"memory");
		if (v > 0)
			v -= r->memory_limit;
		rc = cgroup_write(d, "memory.swap.max", number_or_max(a, v), t->err);
	}
	/* v1 refuses it by itself. */
	char now[32];
	if (rc == 0 && r->memory_check && r->memory_limit > 0 &&
		cgroup_read(d, "memory.current", now, sizeof(now)) > 0 &&
		r->memory_limit < strtoll(now, NULL, 10))
		return error_set(t->err, EBUSY, "memory: %lld bytes are less than what is in use",
			(long long)r->memory_limit);
	if (rc == 0 && r->memory_limit != SPEC_UNSET)
		rc = cgroup_write(d, "memory.max", number_or_max(a, r->memory_limit), t->err);
	return rc;
}

static int memory(struct target *t, const struct spec_resources *r)
{
	bool v2;
	if (r->memory_limit == SPEC_UNSET && r->memory_swap == SPEC_UNSET &&
		r->memory_reservation == SPEC_UNSET && r->memory_swappiness == SPEC_UNSET &&
		r->memory_no_oom_killer == SPEC_UNSET && r->memory_kernel_tcp == SPEC_UNSET)
		return 0;
	const struct cgroup_dir *d = cgroup_controller(t->cg, "memory", &v2, t->err);
	if (!d)
		return -ENOTSUP;
	int rc = v2 ? memory_v2(t, d, r) : memory_v1(t, d, r);
	if (rc == 0)
		rc = set(t, r->memory_reservation, "memory", "memory.soft_limit_in_bytes",
			"memory.low");
	if (rc == 0)
		rc = set(t, r->memory_swappiness, "memory", "memory.swappiness", NULL);
	/* "Use the OOM killer" is what there is anyway, and newer kernels deny even that write. */
	if (rc == 0 && r->memory_no_oom_killer == 1)
		rc = set(t, 1, "memory", "memory.oom_control", NULL);
	if (rc == 0)
		rc = set(t, r->memory_kernel_tcp, "memory", "memory.kmem.tcp.limit_in_bytes", NULL);
	return rc;
}

static int cpu_max(struct target *t, const struct cgroup_dir *d, const struct spec_resources *r)
{
	char quota[32] = "max", text[80];
	int64_t period = 100000;
	/* What is not given stays: the file has both. */
	if (cgroup_read(d, "cpu.max", text, sizeof(text)) > 0) {
		long long p;
		if (sscanf(text, "%31s %lld", quota, &p) == 2)
			period = p;
	}
	if (r->cpu_quota != SPEC_UNSET) {
		if (r->cpu_quota > 0)
			number(quota, r->cpu_quota);
		else
			strcpy(quota, "max");
	}
	if (r->cpu_period != SPEC_UNSET && r->cpu_period)
		period = r->cpu_period;
	snprintf(text, sizeof(text), "%s %lld", quota, (long long)period);
	return cgroup_write(d, "cpu.max", text, t->err);
}

static int cpu_v2(struct target *t, const struct cgroup_dir *d, const struct spec_resources *r)
{
	char a[32];
	int rc = 0;
	if (r->cpu_shares != SPEC_UNSET && r->cpu_shares != 0) {
		/* From 2…262144 to 1…10000. */
		int64_t s = MIN(MAX(r->cpu_shares, 2), 262144);
		rc = cgroup_write(d, "cpu.weight", number(a, 1 + (s - 2) * 9999 / 262142), t->err);
	}
	if (rc == 0 && (r->cpu_quota != SPEC_UNSET || r->cpu_period != SPEC_UNSET))
		rc = cpu_max(t, d, r);
	if (rc == 0 && r->cpu_burst != SPEC_UNSET)
		rc = cgroup_write(d, "cpu.max.burst", number(a, r->cpu_burst), t->err);
	if (rc == 0 && r->cpu_idle != SPEC_UNSET)
		rc = cgroup_write(d, "cpu.idle", number(a, r->cpu_idle), t->err);
	return rc;
}

static int cpu_v1(struct target *t, const struct cgroup_dir *d, const struct spec_resources *r)
{
	/* The period first, unless the quota that is there is too large for it. */
	const struct {
		int64_t value;
		const char *file;
	} rows[] = {{r->cpu_shares == 0 ? SPEC_UNSET : r->cpu_shares, "cpu.shares"},
		{r->cpu_period == 0 ? SPEC_UNSET : r->cpu_period, "cpu.cfs_period_us"},
		{r->cpu_quota == 0 ? SPEC_UNSET : r->cpu_quota, "cpu.cfs_quota_us"},
		{r->cpu_burst, "cpu.cfs_burst_us"},
		{r->cpu_rt_period == 0 ? SPEC_UNSET : r->cpu_rt_period, "cpu.rt_period_us"},
		{r->cpu_rt_runtime == 0 ? SPEC_UNSET : r->cpu_rt_runtime, "cpu.rt_runtime_us"},
		{r->cpu_idle, "cpu.idle"}};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char a[32];
		if (rows[i].value == SPEC_UNSET)
			continue;
		int rc = cgroup_write(d, rows[i].file, number(a, rows[i].value), t->err);
		if (rc == -EINVAL && i == 1 && r->cpu_quota != SPEC_UNSET) {
			cgroup_write(d, "cpu.cfs_quota_us", number(a, r->cpu_quota), NULL);
			rc = cgroup_write(d, rows[i].file, number(a, rows[i].value), t->err);
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int cpu(struct target *t, const struct spec_resources *r)
{
	const int64_t any[] = {r->cpu_shares, r->cpu_quota, r->cpu_burst, r->cpu_period,
		r->cpu_rt_runtime, r->cpu_rt_period, r->cpu_idle};
	int rc = 0;
	bool v2;
	for (size_t i = 0; i < ARRAY_SIZE(any) && rc == 0; i++) {
		if (any[i] == SPEC_UNSET)
			continue;
		const struct cgroup_dir *d = cgroup_controller(t->cg, "cpu", &v2, t->err);
		if (!d)
			return -ENOTSUP;
		rc = v2 ? cpu_v2(t, d, r) : cpu_v1(t, d, r);
		break;
	}
	if (rc == 0 && r->cpus && *r->cpus)
		rc = put(t, "cpuset", "cpuset.cpus", "cpuset.cpus", r->cpus, r->cpus);
	if (rc == 0 && r->mems && *r->mems)
		rc = put(t, "cpuset", "cpuset.mems", "cpuset.mems", r->mems, r->mems);
	return rc;
}

/* "" or "MAJ:MIN " before the weight. The file is BFQ's own where only that scheduler has weights.
 */
static int blkio_weight(struct target *t, const char *device, int64_t weight, const char *v1_file)
{
	bool v2;
	char text[80], bfq[64];
	const struct cgroup_dir *d = cgroup_controller(t->cg, "blkio", &v2, NULL);
	if (!d)
		d = cgroup_controller(t->cg, "io", &v2, t->err);
	if (!d)
		return -ENOTSUP;
	if (v2) {
		/* From 10…1000 to 1…10000. */
		snprintf(text, sizeof(text), "%s%lld", *device ? device : "default ",
			(long long)(1 + (weight - 10) * 9999 / 990));
		if (cgroup_write(d, "io.weight", text, NULL) == 0)
			return 0;
		snprintf(text, sizeof(text), "%s%lld", device, (long long)weight);
		return cgroup_write(d, "io.bfq.weight", text, t->err);
	}
	snprintf(text, sizeof(text), "%s%lld", device, (long long)weight);
	snprintf(bfq, sizeof(bfq), "blkio.bfq.%s", v1_file);
	if (cgroup_write(d, bfq, text, NULL) == 0)
		return 0;
	snprintf(bfq, sizeof(bfq), "blkio.%s", v1_file);
	return cgroup_write(d, bfq, text, t->err);
}

static int blkio(struct target *t, const struct spec_resources *r)
{
	static const struct {
		const char *v1, *v2;
	} throttles[THROTTLES] = {{"blkio.throttle.read_bps_device", "rbps"},
		{"blkio.throttle.write_bps_device", "wbps"},
		{"blkio.throttle.read_iops_device", "riops"},
		{"blkio.throttle.write_iops_device", "wiops"}};
	char device[40], v1[96], v2[96];
	int rc = 0;
	if (r->blkio_weight != SPEC_UNSET && r->blkio_weight)
		rc = blkio_weight(t, "", r->blkio_weight, "weight");
	if (rc == 0 && r->blkio_leaf_weight != SPEC_UNSET && r->blkio_leaf_weight)
		rc = blkio_weight(t, "", r->blkio_leaf_weight, "leaf_weight");
	for (size_t i = 0; i < r->n_weights && rc == 0; i++) {
		const struct spec_blkio_device *w = &r->weights[i];
		snprintf(device, sizeof(device), "%u:%u ", w->major, w->minor);
		if (w->value != SPEC_UNSET)
			rc = blkio_weight(t, device, w->value, "weight_device");
		if (rc == 0 && w->leaf != SPEC_UNSET)
			rc = blkio_weight(t, device, w->leaf, "leaf_weight_device");
	}
	for (int k = 0; k < THROTTLES; k++) {
		for (size_t i = 0; i < r->n_throttles[k] && rc == 0; i++) {
			const struct spec_blkio_device *d = &r->throttles[k][i];
			bool is_v2;
			snprintf(v1, sizeof(v1), "%u:%u %lld", d->major, d->minor,
				(long long)d->value);
			snprintf(v2, sizeof(v2), "%u:%u %s=%lld", d->major, d->minor,
				throttles[k].v2, (long long)d->value);
			const char *name =
				cgroup_controller(t->cg, "blkio", &is_v2, NULL) ? "blkio" : "io";
			rc = put(t, name, throttles[k].v1, "io.max", v1, v2);
		}
	}
	return rc;
}

static int others(struct target *t, const struct spec_resources *r)
{
	char a[32], file1[64], file2[64], line[256];
	int rc = 0;
	/* 0 is what callers send for "not given". */
	if (r->pids_limit != SPEC_UNSET && r->pids_limit != 0) {
		const char *value = number_or_max(a, r->pids_limit);
		rc = put(t, "pids", "pids.max", "pids.max", value, value);
	}
	for (size_t i = 0; i < r->hugepages.n && rc == 0; i++) {
		const struct spec_pair *p = &r->hugepages.items[i];
		snprintf(file1, sizeof(file1), "hugetlb.%.20s.limit_in_bytes", p->key);
		snprintf(file2, sizeof(file2), "hugetlb.%.20s.max", p->key);
		rc = put(t, "hugetlb", file1, file2, p->value, p->value);
		/* Of reservations, where the kernel counts them: they fail early, not by a signal.
		 */
		snprintf(file1, sizeof(file1), "hugetlb.%.20s.rsvd.limit_in_bytes", p->key);
		snprintf(file2, sizeof(file2), "hugetlb.%.20s.rsvd.max", p->key);
		struct target quiet = {t->cg, NULL};
		if (rc == 0)
			put(&quiet, "hugetlb", file1, file2, p->value, p->value);
	}
	if (rc == 0)
		rc = set(t, r->net_class, "net_cls", "net_cls.classid", NULL);
	for (size_t i = 0; i < r->net_priorities.n && rc == 0; i++) {
		const struct spec_pair *p = &r->net_priorities.items[i];
		snprintf(line, sizeof(line), "%s %s", p->key, p->value);
		rc = put(t, "net_prio", "net_prio.ifpriomap", NULL, line, NULL);
	}
	for (size_t i = 0; i < r->rdma.n && rc == 0; i++) {
		const struct spec_pair *p = &r->rdma.items[i];
		snprintf(line, sizeof(line), "%s%s", p->key, p->value);
		rc = put(t, "rdma", "rdma.max", "rdma.max", line, line);
	}
	return rc;
}

/* "memory.high" belongs to the controller "memory", "cgroup.procs" to the group. */
static int unified(struct target *t, const struct spec_resources *r)
{
	for (size_t i = 0; i < r->unified.n; i++) {
		const struct spec_pair *p = &r->unified.items[i];
		const struct cgroup_dir *v2 = NULL;
		vec_for_each (d, &t->cg->dirs)
			if (!*d->controllers && d->fd >= 0)
				v2 = d;
		if (!v2)
			return error_set(
				t->err, ENOTSUP, "resources.unified: there is no cgroup v2 group");
		/* Several lines may be one value. */
		char *copy _free_ = xstrdup(p->value), *save = NULL;
		for (char *line = strtok_r(copy, "\n", &save); line;
			line = strtok_r(NULL, "\n", &save)) {
			int rc = cgroup_write(v2, p->key, line, t->err);
			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

int cgroup_limit(const struct cgroup *cg, const struct spec_resources *r, struct error *err)
{
	struct target t = {cg, err};
	int rc = memory(&t, r);
	if (rc == 0)
		rc = cpu(&t, r);
	if (rc == 0)
		rc = blkio(&t, r);
	if (rc == 0)
		rc = others(&t, r);
	if (rc == 0)
		rc = unified(&t, r);
	return rc < 0 ? error_wrap(err, rc, "resources") : 0;
}
