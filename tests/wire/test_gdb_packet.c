// SPDX-License-Identifier: Apache-2.0
// GDB's remote protocol: frames in and out, what packets say, and nonsense.
#include "tap.h"
#include "wire/gdb_packet.h"

static struct gdb_reader reader;

/* The last input that was more than a part of a packet; *count: how many. */
static enum gdb_input feed(const char *bytes, size_t len, unsigned *count)
{
	enum gdb_input last = GDB_MORE;
	*count = 0;
	for (size_t i = 0; i < len; i++) {
		enum gdb_input now = gdb_reader_take(&reader, (uint8_t)bytes[i]);
		if (now != GDB_MORE) {
			last = now;
			++*count;
		}
	}
	return last;
}
static void expect(const char *bytes, enum gdb_input want, const char *packet)
{
	unsigned count;
	memset(&reader, 0, sizeof(reader));
	CHECK_EQ((int)feed(bytes, strlen(bytes), &count), (int)want);
	CHECK_EQ(count, want == GDB_MORE ? 0u : 1u);
	if (want == GDB_PACKET)
		CHECK_STR((char *)reader.data, packet);
}

static void frames(void)
{
	expect("$g#67", GDB_PACKET, "g");
	expect("noise $#00", GDB_PACKET, "");
	expect("$g#68", GDB_BAD, NULL);
	expect("$g#6x", GDB_BAD, NULL);
	expect("$g#x7", GDB_BAD, NULL);
	expect("$g#6", GDB_MORE, NULL);
	expect("$cut$g#67", GDB_PACKET, "g");
	expect("$a}\x03}]#61", GDB_BAD, NULL);
	expect("$a}\x03}]#bb", GDB_PACKET, "a#}");
	expect("+", GDB_ACK, NULL);
	expect("-", GDB_NACK, NULL);
	expect("\x03", GDB_INTERRUPT, NULL);
	/* inside a packet it is a byte */
	expect("$\x03#03", GDB_PACKET, "\x03");
}

static void a_packet_that_is_too_long(void)
{
	char *bytes _free_ = xcalloc(1, GDB_PACKET_MAX + 8);
	unsigned count;
	for (size_t more = 0; more < 2; more++) {
		size_t len = GDB_PACKET_MAX + more;
		memset(&reader, 0, sizeof(reader));
		bytes[0] = '$';
		memset(bytes + 1, 'a', len);
		snprintf(bytes + 1 + len, 4, "#%02x", (unsigned)('a' * len) & 255);
		CHECK_EQ((int)feed(bytes, len + 4, &count), (int)GDB_PACKET);
		CHECK_EQ(reader.len, more ? 0u : (size_t)GDB_PACKET_MAX);
	}
}

static void answers(void)
{
	struct strbuf out _strbuf_ = STRBUF_INIT;
	gdb_frame(&out, "OK", 2);
	CHECK_STR(out.data, "$OK#9a");
	strbuf_clear(&out);
	gdb_frame(&out, "a*}#$", 5);
	CHECK_CONTAINS(out.data, "$a}\n}]}\x03}\x04#");
	unsigned count;
	memset(&reader, 0, sizeof(reader));
	CHECK_EQ((int)feed(out.data, out.len, &count), (int)GDB_PACKET);
	CHECK_STR((char *)reader.data, "a*}#$");
	strbuf_clear(&out);
	gdb_add_hex(&out, "\x00\xab\x7f", 3);
	CHECK_STR(out.data, "00ab7f");
}

static uint8_t packet[256];
static struct gdb_command parse(const char *text)
{
	struct gdb_command c;
	snprintf((char *)packet, sizeof(packet), "%s", text);
	gdb_command_parse(packet, strlen(text), &c);
	return c;
}

static void memory_and_registers(void)
{
	struct gdb_command c = parse("mffffffff80000000,40");
	CHECK_EQ((int)c.kind, (int)GDB_READ_MEMORY);
	CHECK_EQ(c.addr, UINT64_C(0xffffffff80000000));
	CHECK_EQ(c.length, UINT64_C(64));
	CHECK(!c.binary && parse("x0,1").binary);
	c = parse("M10,3:00fFa1");
	CHECK_EQ((int)c.kind, (int)GDB_WRITE_MEMORY);
	CHECK(c.data_len == 3 && !memcmp(c.data, "\x00\xff\xa1", 3));
	c = parse("X10,3:a,:");
	CHECK_EQ((int)c.kind, (int)GDB_WRITE_MEMORY);
	CHECK(c.data_len == 3 && !memcmp(c.data, "a,:", 3));
	CHECK_EQ((int)parse("X10,0:").kind, (int)GDB_WRITE_MEMORY);
	c = parse("P20=0102");
	CHECK_EQ((int)c.kind, (int)GDB_WRITE_REGISTER);
	CHECK(c.number == 32 && c.data_len == 2 && c.data[1] == 2);
	CHECK_EQ(parse("p41").number, 65u);
	c = parse("Z2,1000,8");
	CHECK_EQ((int)c.kind, (int)GDB_INSERT);
	CHECK(c.number == GDB_WATCH_WRITE && c.addr == 0x1000 && c.length == 8);
	CHECK_EQ((int)parse("z0,1000,2").kind, (int)GDB_REMOVE);
	CHECK_EQ((int)parse("Z5,1,1").kind, (int)GDB_UNKNOWN);
}

static void nonsense(void)
{
	static const char *const bad[] = {"m", "m1", "m1,", "m,1", "m1,2 ", "m11111111111111111,1",
		"M1,2:00", "M1,1:0", "M1,1:0g", "M1,1", "X1,2:a", "X1,fffffffff:a", "p", "px",
		"p1ffffffff", "P1", "P1=0", "Hx1", "Hg", "Hg80000000", "Hg-2", "Hgp1.1", "T", "T1 ",
		"Z", "Z0", "Z0,1", "Z0,1,1x", "c1x", "C", "C5:", "vCont", "vCont;", "vCont;t",
		"vCont;s:", "vCont;s:x", "vCont;C", "vContx", "gg", "?1", "D;1",
		"qXfer:features:read:target.xml", "qXfer:features:read::0", "qRcmd,1", "qRcmd,zz",
		"qThreadExtraInfo,"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (parse(bad[i]).kind != GDB_MALFORMED)
			TAP_FAIL_("%s is taken", bad[i]);
	}
	static const char *const unknown[] = {"", "vMustReplyEmpty", "qTStatus", "!", "R00",
		"QNonStop:1", "qCRC:0,1", "qXfer:memory-map:read::0,1", "vKill;1"};
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++)
		CHECK_EQ((int)parse(unknown[i]).kind, (int)GDB_UNKNOWN);
}

static void resuming(void)
{
	struct gdb_command c = parse("vCont;s:2;C05:3;c");
	CHECK_EQ((int)c.kind, (int)GDB_RESUME);
	CHECK_EQ(c.action_count, 3u);
	CHECK(gdb_command_action(&c, 2, 1)->step);
	CHECK(!gdb_command_action(&c, 3, 1)->step);
	CHECK(!gdb_command_action(&c, 1, 1)->step);
	c = parse("vCont;s:2");
	CHECK(!gdb_command_action(&c, 1, 1));
	CHECK(gdb_command_action(&c, 2, 1));
	c = parse("s");
	CHECK_EQ((int)c.kind, (int)GDB_RESUME);
	CHECK(gdb_command_action(&c, 4, 4)->step && !gdb_command_action(&c, 5, 4)->step);
	CHECK(!c.has_addr);
	c = parse("C05;80000000");
	CHECK(c.has_addr && c.addr == 0x80000000 && !gdb_command_action(&c, 1, 1)->step);
	char many[8 * GDB_ACTIONS_MAX] = "vCont";
	for (unsigned i = 0; i < GDB_ACTIONS_MAX; i++)
		strcat(many, ";c:1");
	gdb_command_parse((uint8_t *)many, strlen(many), &c);
	CHECK_EQ(c.action_count, (unsigned)GDB_ACTIONS_MAX);
	strcat(many, ";c");
	gdb_command_parse((uint8_t *)many, strlen(many), &c);
	CHECK_EQ((int)c.kind, (int)GDB_MALFORMED);
}

static void queries(void)
{
	struct gdb_command c = parse("qSupported:multiprocess+;hwbreak+;xswbreak+");
	CHECK_EQ((int)c.kind, (int)GDB_SUPPORTED);
	CHECK(c.hwbreak && !c.swbreak);
	CHECK(parse("qSupported:swbreak+").swbreak);
	c = parse("qXfer:features:read:target.xml:1f,ffb");
	CHECK_EQ((int)c.kind, (int)GDB_FEATURES);
	CHECK_STR(c.text, "target.xml");
	CHECK(c.addr == 0x1f && c.length == 0xffb);
	c = parse("qRcmd,68656c70");
	CHECK_EQ((int)c.kind, (int)GDB_MONITOR);
	CHECK_STR(c.text, "help");
	CHECK_STR(parse("qRcmd,").text, "");
	c = parse("Hc-1");
	CHECK(c.kind == GDB_SET_THREAD && c.resuming && c.thread == GDB_THREAD_ALL);
	c = parse("Hg2");
	CHECK(c.kind == GDB_SET_THREAD && !c.resuming && c.thread == 2);
	CHECK_EQ(parse("T1f").thread, 31);
	CHECK_EQ((int)parse("qC").kind, (int)GDB_CURRENT_THREAD);
	CHECK_EQ((int)parse("vCont?").kind, (int)GDB_RESUME_QUERY);
	CHECK_EQ((int)parse("QStartNoAckMode").kind, (int)GDB_NO_ACK);
}

int main(void)
{
	RUN(frames);
	RUN(a_packet_that_is_too_long);
	RUN(answers);
	RUN(memory_and_registers);
	RUN(nonsense);
	RUN(resuming);
	RUN(queries);
	return tap_done();
}
