// SPDX-License-Identifier: Apache-2.0
// Runs inside the machine, in supervisor mode: load-reserved and store-conditional with other
// accesses in between. A store by another hart ends the reservation, whatever it stores.
#include "guest.h"

enum { TIMES = 40, ROUNDS = 300, NODES = 8, A = 0x1234, B = 0x5678, NEW = 0x9abc };

/* What another hart does between the two. */
enum action {
	NOTHING = 1,
	STORES,
	STORES_THE_SAME,
	STORES_A_PART,
	SWAPS,
	RESERVES,
	STORES_ELSEWHERE,
	SWAPS_TO_ANOTHER,
	END,
};

static struct {
	u64 word __attribute__((aligned(4096)));
	u64 elsewhere __attribute__((aligned(64)));
} data;
static struct {
	volatile u64 wanted __attribute__((aligned(4096))), done;
} order;

static void compare_and_swap(u64 *p, u64 from, u64 to)
{
	u64 old, failed;
	__asm__ volatile("1: lr.d.aqrl %0, (%2)\n"
			 "bne %0, %3, 2f\n"
			 "sc.d.aqrl %1, %4, (%2)\n"
			 "bnez %1, 1b\n"
			 "2:"
			 : "=&r"(old), "=&r"(failed)
			 : "r"(p), "r"(from), "r"(to)
			 : "memory");
}

static void swap(u64 *p, u64 to)
{
	__asm__ volatile("amoswap.d.aqrl zero, %1, (%0)" ::"r"(p), "r"(to) : "memory");
}

static void act(enum action what)
{
	volatile u64 *p = &data.word;
	switch (what) {
	case STORES:
		*p = B;
		*p = A;
		break;
	case STORES_THE_SAME:
		*p = A;
		break;
	case STORES_A_PART:
		*((volatile u8 *)p + 7) = 0;
		break;
	case SWAPS:
		swap(&data.word, B);
		swap(&data.word, A);
		break;
	case RESERVES:
		compare_and_swap(&data.word, A, B);
		compare_and_swap(&data.word, B, A);
		break;
	case STORES_ELSEWHERE:
		*(volatile u64 *)&data.elsewhere = 1;
		break;
	case SWAPS_TO_ANOTHER:
		swap(&data.word, B);
		break;
	default:
		break;
	}
}

static void other_hart(u64 hart)
{
	u64 done = 0;
	seen[hart] = 1;
	for (;;) {
		u64 what = order.wanted;
		if (what == done)
			continue;
		if ((what & 0xff) == END)
			break;
		act((enum action)(what & 0xff));
		__asm__ volatile("fence rw, rw" ::: "memory");
		order.done = done = what;
	}
	seen[hart] = 2;
	sbi(HSM, 1, 0, 0, 0, 0, 0);
}

/* Whether the store-conditional was done. */
static u64 attempt(u64 number)
{
	u64 old, failed, seen_done;
	data.word = A;
	__asm__ volatile("lr.d %0, (%3)\n"
			 "sd %5, 0(%4)\n"
			 "1: ld %2, 8(%4)\n"
			 "bne %2, %5, 1b\n"
			 "sc.d %1, %6, (%3)"
			 : "=&r"(old), "=&r"(failed), "=&r"(seen_done)
			 : "r"(&data.word), "r"(&order), "r"(number), "r"(NEW)
			 : "memory");
	return !failed;
}

static void test_interleavings(void)
{
	static const struct {
		enum action what;
		u64 succeeds;
		const char *name;
	} rows[] = {{NOTHING, 1, "undisturbed"}, {STORES, 0, "stores of another value and back"},
		{STORES_THE_SAME, 0, "a store of the same value"},
		{STORES_A_PART, 0, "a store of a byte that stays"},
		{SWAPS, 0, "atomic operations and back"}, {RESERVES, 0, "LR/SC and back"},
		{STORES_ELSEWHERE, 1, "a store to another line"},
		{SWAPS_TO_ANOTHER, 0, "another value"}};
	if (error(HSM, 0, 1, (u64)entry, (u64)other_hart, 0))
		want("start", 1, 0);
	wait_for(&seen[1], 1);
	u64 number = 0;
	for (u64 n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		u64 done = 0;
		for (u64 times = 0; times < TIMES; times++)
			done += attempt(++number << 8 | rows[n].what);
		want(rows[n].name, (long)done, rows[n].succeeds ? TIMES : 0);
	}
	order.wanted = END;
	wait_stopped(1);
}

/* --- a stack of nodes that all harts take from and put back to --- */
struct node {
	struct node *next;
	u64 taken;
};
static struct {
	struct node *head __attribute__((aligned(4096)));
	struct node nodes[NODES] __attribute__((aligned(64))); /* in the page of head */
} stack;
static volatile u64 taken_twice;

static void push(struct node *node)
{
	u64 old, failed;
	__asm__ volatile("1: lr.d.aq %0, (%2)\n"
			 "sd %0, (%3)\n"
			 "sc.d.rl %1, %3, (%2)\n"
			 "bnez %1, 1b"
			 : "=&r"(old), "=&r"(failed)
			 : "r"(&stack.head), "r"(node)
			 : "memory");
}

static struct node *pop(void)
{
	struct node *node, *next;
	u64 failed;
	__asm__ volatile("1: lr.d.aq %0, (%3)\n"
			 "beqz %0, 2f\n"
			 "ld %1, (%0)\n"
			 "sc.d.aqrl %2, %1, (%3)\n"
			 "bnez %2, 1b\n"
			 "2:"
			 : "=&r"(node), "=&r"(next), "=&r"(failed)
			 : "r"(&stack.head)
			 : "memory");
	if (node && __atomic_exchange_n(&node->taken, 1, __ATOMIC_SEQ_CST))
		taken_twice++;
	return node;
}

static void give_back(struct node *node)
{
	if (!node)
		return;
	__atomic_store_n(&node->taken, 0, __ATOMIC_SEQ_CST);
	push(node);
}

static void shuffle(u64 hart)
{
	u64 start = now();
	for (u64 n = 0; n < ROUNDS && now() - start < 50000000; n++) {
		struct node *first = pop(), *second = pop();
		/* The head is what it was, and its successor is not. */
		give_back(hart & 1 ? first : second);
		give_back(hart & 1 ? second : first);
	}
}

static void shuffling_hart(u64 hart)
{
	seen[hart] = 1;
	while (!go)
		;
	shuffle(hart);
	sbi(HSM, 1, 0, 0, 0, 0, 0);
}

static void test_stack(u64 harts)
{
	for (u64 n = 0; n < NODES; n++)
		push(&stack.nodes[n]);
	for (u64 h = 1; h < harts; h++) {
		seen[h] = 0;
		if (error(HSM, 0, h, (u64)entry, (u64)shuffling_hart, 0))
			want("start", 1, 0);
		wait_for(&seen[h], 1);
	}
	go = 1;
	shuffle(0);
	for (u64 h = 1; h < harts; h++) {
		u64 start = now();
		while (value(HSM, 2, h) != STOPPED && now() - start < 200000000)
			;
		want("a hart stops", (long)value(HSM, 2, h), STOPPED);
	}
	u64 left = 0;
	for (struct node *n = stack.head; n && left <= NODES; n = n->next)
		left++;
	want("nodes that are left", (long)left, NODES);
	want("nodes that two have taken", (long)taken_twice, 0);
}

void main(u64 hart)
{
	u64 harts = 0;
	(void)hart;
	while (harts < HARTS && error(HSM, 2, harts, 0, 0, 0) != INVALID_PARAM)
		harts++;
	want("there are others", harts > 1, 1);
	test_interleavings();
	test_stack(harts);
	error(SRST, 0, 0, 0, 0, 0);
	print("not ok - running after poweroff\n");
}
