/* The policy file, its mistakes, and what it admits. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "play.h"
#include "sockets/policy.h"

static char *none[] = {NULL};

static const char *write_file(const char *text, size_t length)
{
	static char path[64];
	int fd;

	strcpy(path, "/tmp/causeway-test-XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, length), (ssize_t)length);
	close(fd);
	return path;
}

static int read_text(struct cw_policy *policy, const char *text, const char *program, char *const environment[])
{
	const char *path = write_file(text, strlen(text));
	int result = cw_policy_read(policy, path, program, environment);

	unlink(path);
	return result;
}

START_TEST(presets_without_a_file)
{
	struct cw_policy policy;

	ck_assert_int_eq(cw_policy_read(&policy, "/dev/null", "x", none), 0);
#define X(name, kind, preset, low, high, argument, text) ck_assert_int_eq(policy.number[CW_OPTION_##name], preset);
#include "sockets/options.def"
#undef X
	ck_assert(!policy.broken);
	ck_assert(!policy.program_excluded);
	ck_assert_int_eq(cw_policy_read(&policy, "/nonexistent/causeway.conf", "x", none), -1);
	ck_assert(policy.broken);
}
END_TEST

START_TEST(all_kinds_of_settings)
{
	struct cw_policy policy;

	ck_assert_int_eq(read_text(&policy,
				   "# a comment\n\n  move=no  # off\nspin_us = 7\r\nafter_bytes\t=\t1000000000\n"
				   "addresses = 10.0.0.0/8, !10.1.2.3 , 2001:db8::/33\nports = 5432,!6000-6010\nhot=1",
				   "x", none),
			 0);
	ck_assert_int_eq(policy.number[CW_OPTION_move], 0);
	ck_assert_int_eq(policy.number[CW_OPTION_spin_us], 7);
	ck_assert_int_eq(policy.number[CW_OPTION_after_bytes], 1000000000);
	ck_assert_int_eq(policy.number[CW_OPTION_hot], 1); /* no newline at the end */
	ck_assert_uint_eq(policy.addresses, 3);
	ck_assert_uint_eq(policy.address[0].bits, 104);
	ck_assert_uint_eq(policy.address[1].bits, 128);
	ck_assert(policy.address[1].exclude);
	ck_assert_uint_eq(policy.address[2].bits, 33);
	ck_assert_uint_eq(policy.ports, 2);
	ck_assert_uint_eq(policy.port[1].low, 6000);
	ck_assert_uint_eq(policy.port[1].high, 6010);
}
END_TEST

static const struct {
	const char *text, *error;
} mistakes[] = {
	{"moove = yes\n", ":1: there is no setting \"moove\""},
	{"\n\nspin_us = x\n", ":3: spin_us: \"x\" is not a whole number"},
	{"spin_us = -1\n", ":1: spin_us: \"-1\" is not a whole number"},
	{"spin_us = 1001\n", ":1: spin_us: 1001 is out of range"},
	{"spin_us = 99999999999999999999\n", ":1: spin_us: \"99999999999999999999\" is not a whole number"},
	{"ring_bytes = 16383\n", ":1: ring_bytes: 16383 is out of range"},
	{"move = maybe\n", ":1: move: \"maybe\" is neither yes nor no"},
	{"move =\n", ":1: move has no value"},
	{"move\n", ":1: \"move\" is not a setting"},
	{"addresses = localhost\n", ":1: addresses: \"localhost\" is not an address"},
	{"addresses = 10.0.0.0/33\n", ":1: addresses: \"33\" is not a count of bits"},
	{"addresses = ::/129\n", ":1: addresses: \"129\" is not a count of bits"},
	{"ports = 0\n", ":1: ports: \"0\" is not a port"},
	{"ports = 70000\n", ":1: ports: \"70000\" is not a port"},
	{"ports = 20-10\n", ":1: ports: \"20-10\" is not a port"},
	{"ports = 1,,2\n", ":1: ports: an empty item"},
	{"programs = !\n", ":1: programs: an empty item"},
};

START_TEST(a_mistake_is_named_with_its_line)
{
	struct cw_policy policy;

	ck_assert_int_eq(read_text(&policy, mistakes[_i].text, "x", none), -1);
	ck_assert(policy.broken);
	ck_assert_msg(strstr(policy.error, mistakes[_i].error), "\"%s\" gives \"%s\"", mistakes[_i].text, policy.error);
	/* And what to do: after the last colon. */
	ck_assert_msg(strlen(strrchr(policy.error, ':')) > 5, "%s", policy.error);
}
END_TEST

START_TEST(files_that_are_no_policies)
{
	static char long_line[9000];
	struct cw_policy policy;
	const char *path;

	memset(long_line, 'a', sizeof(long_line) - 1);
	ck_assert_int_eq(read_text(&policy, long_line, "x", none), -1);
	ck_assert_msg(strstr(policy.error, ":1: longer than"), "%s", policy.error);
	path = write_file("move = no\0\n", 11);
	ck_assert_int_eq(cw_policy_read(&policy, path, "x", none), -1);
	ck_assert_msg(strstr(policy.error, "not a text file"), "%s", policy.error);
	unlink(path);
	ck_assert_int_eq(cw_policy_read(&policy, "/", "x", none), -1);
	ck_assert_msg(strstr(policy.error, "/: can't be read"), "%s", policy.error);
	ck_assert_int_eq(cw_policy_read(&policy, "/nonexistent", "x", none), -1);
	ck_assert_msg(strstr(policy.error, "/nonexistent: can't be opened"), "%s", policy.error);
	ck_assert_int_eq(mkfifo("/tmp/causeway-test-fifo", 0600), 0);
	ck_assert_int_eq(cw_policy_read(&policy, "/tmp/causeway-test-fifo", "x", none), 0); /* and does not wait for a writer */
	unlink("/tmp/causeway-test-fifo");
}
END_TEST

START_TEST(the_environment_wins)
{
	char *environment[] = {
		"PATH=/bin", "CAUSEWAY_MOVE=yes", "CAUSEWAY_SPIN_US=3", "CAUSEWAY_PORTS=80", "CAUSEWAY_RUN=17", "CAUSEWAY_SOMETHING=else",
		NULL};
	char *wrong[] = {"CAUSEWAY_SPIN_US=fast", NULL};
	struct cw_policy policy;

	ck_assert_int_eq(read_text(&policy, "move = no\nspin_us = 9\nhot = 5\nports = 1,2,3\n", "x", environment), 0);
	ck_assert_int_eq(policy.number[CW_OPTION_move], 1);
	ck_assert_int_eq(policy.number[CW_OPTION_spin_us], 3);
	ck_assert_int_eq(policy.number[CW_OPTION_hot], 5);
	ck_assert_uint_eq(policy.ports, 1);
	ck_assert_int_eq(read_text(&policy, "", "x", wrong), -1);
	ck_assert_msg(strstr(policy.error, "CAUSEWAY_SPIN_US"), "%s", policy.error);
}
END_TEST

START_TEST(the_environment_names_the_file)
{
	const char *path = write_file("spin_us = 11\n", 13);
	char variable[100], *environment[] = {variable, NULL};
	struct cw_policy policy;

	snprintf(variable, sizeof(variable), "CAUSEWAY_CONFIG=%s", path);
	ck_assert_int_eq(cw_policy_read(&policy, NULL, "x", environment), 0);
	ck_assert_int_eq(policy.number[CW_OPTION_spin_us], 11);
	unlink(path);
	ck_assert_int_eq(cw_policy_read(&policy, NULL, "x", environment), -1); /* a named file must be there */
}
END_TEST

static const struct {
	const char *list, *program;
	bool excluded;
} programs[] = {
	{"", "nginx", false},
	{"nginx", "nginx", false},
	{"nginx", "redis-server", true},
	{"redis-*,nginx", "redis-server", false},
	{"!redis-*", "redis-server", true},
	{"!redis-*", "nginx", false},
	{"redis-*,!redis-cli", "redis-cli", true},
	{"redis-*,!redis-cli", "redis-server", false},
	{"?ginx", "nginx", false},
	{"*x*x*", "nxginx", false},
	{"a*b*c", "abxbcx", true},
	{"*", "", false},
};

START_TEST(programs_are_matched)
{
	struct cw_policy policy;
	char text[100];

	snprintf(text, sizeof(text), "programs = %s\n", programs[_i].list);
	ck_assert_int_eq(read_text(&policy, text, programs[_i].program, none), 0);
	ck_assert_msg(policy.program_excluded == programs[_i].excluded, "programs = %s for %s", programs[_i].list, programs[_i].program);
}
END_TEST

static const struct {
	const char *text, *local;
	uint16_t local_port;
	const char *remote;
	uint16_t remote_port;
	bool admitted;
} connections[] = {
	{"", "127.0.0.1", 1, "127.0.0.1", 2, true},
	{"ports = 80", "127.0.0.1", 40000, "127.0.0.1", 80, true},
	{"ports = 80", "127.0.0.1", 80, "127.0.0.1", 40000, true},
	{"ports = 80", "127.0.0.1", 40000, "127.0.0.1", 81, false},
	{"ports = !80", "127.0.0.1", 40000, "127.0.0.1", 80, false},
	{"ports = !80", "127.0.0.1", 40000, "127.0.0.1", 81, true},
	{"ports = 1-100,!80", "127.0.0.1", 50, "127.0.0.1", 80, false},
	{"addresses = 10.0.0.0/8", "10.255.1.2", 1, "192.0.2.1", 2, true},
	{"addresses = 10.0.0.0/8", "11.0.0.0", 1, "192.0.2.1", 2, false},
	{"addresses = 10.0.0.0/8,!10.1.0.0/16", "10.2.0.1", 1, "10.1.0.1", 2, false},
	{"addresses = 192.0.2.128/25", "192.0.2.127", 1, "192.0.2.1", 2, false},
	{"addresses = 192.0.2.128/25", "192.0.2.129", 1, "192.0.2.1", 2, true},
	{"addresses = 0.0.0.0/0", "192.0.2.129", 1, "192.0.2.1", 2, true},
	{"addresses = 0.0.0.0/0", "2001:db8::1", 1, "2001:db8::2", 2, false},
	{"addresses = 2001:db8::/32", "2001:db8::1", 1, "2001:db8::2", 2, true},
	{"addresses = !::1", "::1", 1, "::1", 2, false},
	{"addresses = 127.0.0.1\nports = 80", "127.0.0.1", 1, "127.0.0.1", 81, false},
};

static struct in6_addr to_address(const char *text)
{
	struct in6_addr address = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	if (inet_pton(AF_INET, text, &address.s6_addr[12]) != 1)
		ck_assert_int_eq(inet_pton(AF_INET6, text, &address), 1);
	return address;
}

START_TEST(connections_are_admitted)
{
	struct in6_addr local = to_address(connections[_i].local), remote = to_address(connections[_i].remote);
	struct cw_policy policy;

	ck_assert_int_eq(read_text(&policy, connections[_i].text, "x", none), 0);
	ck_assert_msg(cw_policy_admits(&policy, &local, connections[_i].local_port, &remote, connections[_i].remote_port) ==
			      connections[_i].admitted,
		      "%s: %s:%u %s:%u", connections[_i].text, connections[_i].local, connections[_i].local_port, connections[_i].remote,
		      connections[_i].remote_port);
}
END_TEST

START_TEST(random_files_harm_nobody)
{
	static const char pieces[][12] = {"move", "ports", "=", "=", ",",     "!", "#",  "\n",
					  "\n",   " ",     "1", "-", "99999", "/", "::", "10.0.0.0"};
	struct cw_policy policy;
	unsigned seed = 5;

	for (int round = 0; round < 3000; round++) {
		char text[512];
		size_t length = 0;

		while (length < sizeof(text) - 16 && rand_r(&seed) % 60) {
			if (rand_r(&seed) % 4 == 0) {
				text[length++] = (char)rand_r(&seed);
				continue;
			}
			const char *piece = pieces[(unsigned)rand_r(&seed) % CW_ARRAY_SIZE(pieces)];

			memcpy(text + length, piece, strlen(piece));
			length += strlen(piece);
		}
		const char *path = write_file(text, length);

		ck_assert_int_eq(cw_policy_read(&policy, path, "x", none), policy.broken ? -1 : 0);
		ck_assert_uint_lt(strlen(policy.error), sizeof(policy.error));
		unlink(path);
	}
}
END_TEST

TCase *policy_tests(void)
{
	TCase *tests = tcase_create("policy");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, presets_without_a_file);
	tcase_add_test(tests, all_kinds_of_settings);
	tcase_add_loop_test(tests, a_mistake_is_named_with_its_line, 0, CW_ARRAY_SIZE(mistakes));
	tcase_add_test(tests, files_that_are_no_policies);
	tcase_add_test(tests, the_environment_wins);
	tcase_add_test(tests, the_environment_names_the_file);
	tcase_add_loop_test(tests, programs_are_matched, 0, CW_ARRAY_SIZE(programs));
	tcase_add_loop_test(tests, connections_are_admitted, 0, CW_ARRAY_SIZE(connections));
	tcase_add_test(tests, random_files_harm_nobody);
	return tests;
}
