#include "policy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef __GLIBC__
#define strerrordesc_np strerror
#endif

#define LINE_MAX_BYTES 4096
#define NAME_MAX_BYTES 32
#define PREFIX         "CAUSEWAY_"

enum kind { FLAG, NUMBER, LIST };

struct option {
	const char *name;
	enum kind kind;
	long preset, low, high;
	const char *argument;
};

static const struct option options[] = {
#define X(name, kind, preset, low, high, argument, text) {#name, kind, preset, low, high, argument},
#include "options.def"
#undef X
};

_Static_assert(CW_OPTIONS <= sizeof(((struct cw_policy *)0)->number) / sizeof(long), "every option has its place");

/* Where a setting was found, for the error's text. line 0: in the environment. */
struct place {
	struct cw_policy *policy;
	const char *program, *file;
	unsigned line;
	const char *name;
};

__attribute__((format(printf, 2, 3))) static int fail(const struct place *place, const char *format, ...)
{
	struct cw_policy *policy = place->policy;
	size_t room = sizeof(policy->error), used;
	va_list arguments;
	int count;

	if (place->line)
		count = snprintf(policy->error, room, "%.100s:%u: ", place->file, place->line);
	else
		count = snprintf(policy->error, room, "%.100s: ", place->file);
	used = count < 0 ? 0 : (size_t)count;
	va_start(arguments, format);
	vsnprintf(policy->error + used, room - used, format, arguments);
	va_end(arguments);
	policy->broken = true;
	return -1;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Cuts blanks at both ends; returns the new beginning. */
static char *trim(char *text)
{
	size_t length;

	while (blank(*text))
		text++;
	length = strlen(text);
	while (length && blank(text[length - 1]))
		text[--length] = 0;
	return text;
}

static char upper(char c)
{
	return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static bool same_word(const char *a, const char *b)
{
	while (*a && upper(*a) == upper(*b))
		a++, b++;
	return upper(*a) == upper(*b);
}

/* Decimal digits and nothing else: strtol takes blanks, signs and octal. */
static bool read_number(const char *text, size_t length, long *value)
{
	*value = 0;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9' || i > 15)
			return false;
		*value = *value * 10 + (text[i] - '0');
	}
	return length > 0;
}

static int set_number(const struct place *place, const struct option *option, enum cw_option which, const char *value)
{
	long number;

	if (!read_number(value, strlen(value), &number))
		return fail(place, "%s: \"%.40s\" is not a whole number: write one from %ld to %ld", place->name, value, option->low,
			    option->high);
	if (number < option->low || number > option->high)
		return fail(place, "%s: %ld is out of range: write a number from %ld to %ld", place->name, number, option->low,
			    option->high);
	place->policy->number[which] = number;
	return 0;
}

static int set_flag(const struct place *place, enum cw_option which, const char *value)
{
	static const struct {
		const char *word;
		long value;
	} words[] = {{"yes", 1}, {"no", 0}, {"on", 1}, {"off", 0}, {"true", 1}, {"false", 0}, {"1", 1}, {"0", 0}};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (same_word(value, words[i].word)) {
			place->policy->number[which] = words[i].value;
			return 0;
		}
	return fail(place, "%s: \"%.40s\" is neither yes nor no: write one of them", place->name, value);
}

/* Does name match pattern, where * stands for any text and ? for one character? Iterative, so that no pattern is expensive. */
static bool matches(const char *pattern, const char *name)
{
	const char *star = NULL, *again = name;

	while (*name) {
		if (*pattern == '*') {
			star = ++pattern;
			again = name;
		} else if (*pattern == '?' || *pattern == *name) {
			pattern++;
			name++;
		} else if (star) {
			pattern = star;
			name = ++again;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

static int add_address(const struct place *place, char *item, bool exclude)
{
	struct cw_policy *policy = place->policy;
	struct cw_policy_address address = {.exclude = exclude, .bits = 128};
	char *slash = strchr(item, '/');
	struct in_addr four;
	long bits = -1, most = 128;

	if (policy->addresses == CW_POLICY_ITEMS)
		return fail(place, "%s: more than %u items: write fewer, wider ones", place->name, CW_POLICY_ITEMS);
	if (slash)
		*slash++ = 0;
	if (inet_pton(AF_INET, item, &four) == 1) {
		address.prefix.s6_addr[10] = address.prefix.s6_addr[11] = 0xff;
		memcpy(&address.prefix.s6_addr[12], &four, 4);
		most = 32;
	} else if (inet_pton(AF_INET6, item, &address.prefix) != 1) {
		return fail(place, "%s: \"%.60s\" is not an address: write numbers (192.0.2.1, 192.0.2.0/24, 2001:db8::/32), not names",
			    place->name, item);
	}
	if (slash && (!read_number(slash, strlen(slash), &bits) || bits > most))
		return fail(place, "%s: \"%.40s\" is not a count of bits: write one from 0 to %ld", place->name, slash, most);
	address.bits = (uint8_t)(bits < 0 ? 128 : 128 - most + bits);
	policy->address[policy->addresses++] = address;
	return 0;
}

static int add_ports(const struct place *place, const char *item, bool exclude)
{
	struct cw_policy *policy = place->policy;
	const char *dash = strchr(item, '-');
	long low, high;

	if (policy->ports == CW_POLICY_ITEMS)
		return fail(place, "%s: more than %u items: write fewer, wider ones", place->name, CW_POLICY_ITEMS);
	if (!read_number(item, dash ? (size_t)(dash - item) : strlen(item), &low))
		low = -1;
	high = low;
	if (dash && !read_number(dash + 1, strlen(dash + 1), &high))
		high = -1;
	if (low < 1 || high > 65535 || high < low)
		return fail(place, "%s: \"%.40s\" is not a port: write N or N-N with numbers from 1 to 65535", place->name, item);
	policy->port[policy->ports++] = (struct cw_policy_ports){.low = (uint16_t)low, .high = (uint16_t)high, .exclude = exclude};
	return 0;
}

struct program_match {
	bool listed, named, excluded;
};

static int add_item(const struct place *place, enum cw_option which, char *item, struct program_match *match)
{
	bool exclude = *item == '!';

	if (exclude)
		item = trim(item + 1);
	if (!*item)
		return fail(place, "%s: an empty item: remove the comma or the ! that stands alone", place->name);
	switch (which) {
	case CW_OPTION_addresses:
		return add_address(place, item, exclude);
	case CW_OPTION_ports:
		return add_ports(place, item, exclude);
	default:
		break;
	}
	if (exclude) {
		match->excluded |= place->program && matches(item, place->program);
	} else {
		match->listed = true;
		match->named |= place->program && matches(item, place->program);
	}
	return 0;
}

/* A list replaces what an earlier one of the same name said: the last setting wins, as with numbers. Cuts value up. */
static int set_list(const struct place *place, enum cw_option which, char *value)
{
	struct cw_policy *policy = place->policy;
	struct program_match match = {0};

	if (which == CW_OPTION_addresses)
		policy->addresses = 0;
	else if (which == CW_OPTION_ports)
		policy->ports = 0;
	for (char *item = value, *next; item && *value; item = next) {
		next = strchr(item, ',');
		if (next)
			*next++ = 0;
		if (add_item(place, which, trim(item), &match))
			return -1;
	}
	if (which == CW_OPTION_programs)
		policy->program_excluded = match.excluded || (match.listed && !match.named);
	return 0;
}

static int set(const struct place *place, enum cw_option which, char *value)
{
	const struct option *option = &options[which];

	if (option->kind == LIST)
		return set_list(place, which, value);
	if (!*value)
		return fail(place, "%s has no value: write %s = %s", place->name, option->name, option->argument);
	return option->kind == FLAG ? set_flag(place, which, value) : set_number(place, option, which, value);
}

static int read_line(struct place *place, char *line)
{
	char *equals, *comment = strchr(line, '#');

	if (comment)
		*comment = 0;
	line = trim(line);
	if (!*line)
		return 0;
	equals = strchr(line, '=');
	if (!equals)
		return fail(place, "\"%.40s\" is not a setting: write name = value, or # before a comment", line);
	*equals = 0;
	line = trim(line);
	for (unsigned i = 0; i < CW_OPTIONS; i++)
		if (strcmp(line, options[i].name) == 0) {
			place->name = options[i].name;
			return set(place, (enum cw_option)i, trim(equals + 1));
		}
	return fail(place, "there is no setting \"%.40s\": correct the name or remove the line (causeway.conf(5) lists them)", line);
}

static int read_stream(struct place *place, int fd)
{
	char line[LINE_MAX_BYTES + 1];
	size_t have = 0;
	ssize_t got;

	for (;;) {
		char *begin = line, *end;

		got = syscall(SYS_read, fd, line + have, LINE_MAX_BYTES - have);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			place->line = 0;
			return fail(place, "can't be read (%s): correct it or unset " PREFIX "CONFIG", strerrordesc_np(errno));
		}
		have += (size_t)got;
		if (memchr(line, 0, have))
			return fail(place, "not a text file: write lines of name = value");
		line[have] = 0;
		while ((end = strchr(begin, '\n')) || (got == 0 && begin < line + have)) {
			if (end)
				*end = 0;
			place->line++;
			if (read_line(place, begin))
				return -1;
			begin = end ? end + 1 : line + have;
		}
		if (got == 0)
			return 0;
		have = (size_t)(line + have - begin);
		if (have == LINE_MAX_BYTES) {
			place->line++;
			return fail(place, "longer than %d characters: write shorter lines", LINE_MAX_BYTES);
		}
		memmove(line, begin, have);
	}
}

static int read_file(struct place *place, bool must_exist)
{
	/* O_NONBLOCK: a FIFO put there must not stop the program. */
	int fd = (int)syscall(SYS_openat, AT_FDCWD, place->file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0), result;

	if (fd < 0) {
		if (!must_exist && (errno == ENOENT || errno == ENOTDIR))
			return 0;
		return fail(place, "can't be opened (%s): make it readable, or %s", strerrordesc_np(errno),
			    must_exist ? "correct or unset " PREFIX "CONFIG" : "remove it");
	}
	result = read_stream(place, fd);
	syscall(SYS_close, fd);
	return result;
}

static const char *environment_value(char *const environment[], const char *name)
{
	char wanted[sizeof(PREFIX) + NAME_MAX_BYTES];
	size_t length = sizeof(PREFIX) - 1;

	memcpy(wanted, PREFIX, length);
	while (*name && length < sizeof(wanted) - 1)
		wanted[length++] = upper(*name++);
	for (; environment && *environment; environment++)
		if (strncmp(*environment, wanted, length) == 0 && (*environment)[length] == '=')
			return *environment + length + 1;
	return NULL;
}

static int read_environment(struct cw_policy *policy, const char *program, char *const environment[])
{
	for (unsigned i = 0; i < CW_OPTIONS; i++) {
		const char *value = environment_value(environment, options[i].name);
		char copy[LINE_MAX_BYTES + 1], name[sizeof(PREFIX) + NAME_MAX_BYTES] = PREFIX;
		struct place place = {.policy = policy, .program = program, .file = "environment", .name = name};
		size_t at = sizeof(PREFIX) - 1;

		if (!value)
			continue;
		for (const char *c = options[i].name; *c && at < sizeof(name) - 1; c++)
			name[at++] = upper(*c);
		if (strlen(value) > LINE_MAX_BYTES)
			return fail(&place, "%s is longer than %d characters: write a shorter one", name, LINE_MAX_BYTES);
		memcpy(copy, value, strlen(value) + 1);
		if (set(&place, (enum cw_option)i, trim(copy)))
			return -1;
	}
	return 0;
}

int cw_policy_read(struct cw_policy *policy, const char *file, const char *program, char *const environment[])
{
	struct place place = {.policy = policy, .program = program};
	const char *named = file ? file : environment_value(environment, "config");
	int saved = errno, result;

	memset(policy, 0, sizeof(*policy));
	for (unsigned i = 0; i < CW_OPTIONS; i++)
		policy->number[i] = options[i].preset;
	place.file = named && *named ? named : CW_POLICY_FILE;
	result = read_file(&place, named && *named);
	if (!result)
		result = read_environment(policy, program, environment);
	errno = saved;
	return result;
}

static bool in_prefix(const struct cw_policy_address *item, const struct in6_addr *address)
{
	unsigned bytes = item->bits / 8, rest = item->bits % 8;

	if (memcmp(&item->prefix, address, bytes) != 0)
		return false;
	return !rest || !((item->prefix.s6_addr[bytes] ^ address->s6_addr[bytes]) >> (8 - rest));
}

static bool addresses_admit(const struct cw_policy *policy, const struct in6_addr *local, const struct in6_addr *remote)
{
	bool listed = false, matched = false;

	for (uint32_t i = 0; i < policy->addresses; i++) {
		const struct cw_policy_address *item = &policy->address[i];
		bool hit = in_prefix(item, local) || in_prefix(item, remote);

		if (item->exclude && hit)
			return false;
		listed |= !item->exclude;
		matched |= !item->exclude && hit;
	}
	return matched || !listed;
}

static bool ports_admit(const struct cw_policy *policy, uint16_t local, uint16_t remote)
{
	bool listed = false, matched = false;

	for (uint32_t i = 0; i < policy->ports; i++) {
		const struct cw_policy_ports *item = &policy->port[i];
		bool hit = (local >= item->low && local <= item->high) || (remote >= item->low && remote <= item->high);

		if (item->exclude && hit)
			return false;
		listed |= !item->exclude;
		matched |= !item->exclude && hit;
	}
	return matched || !listed;
}

bool cw_policy_admits(const struct cw_policy *policy, const struct in6_addr *local, uint16_t local_port, const struct in6_addr *remote,
		      uint16_t remote_port)
{
	return addresses_admit(policy, local, remote) && ports_admit(policy, local_port, remote_port);
}
