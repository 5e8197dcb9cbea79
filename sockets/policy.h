/*
 * The policy: which connections may move, and how long to look. From /etc/causeway.conf, or the file that CAUSEWAY_CONFIG names, then from
 * the environment, which wins. Read once, when the library starts; libc only, no allocation, no output: an error is kept as text for those
 * who ask.
 */
#ifndef CW_SOCKETS_POLICY_H
#define CW_SOCKETS_POLICY_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define CW_POLICY_FILE  "/etc/causeway.conf"
#define CW_POLICY_ITEMS 64

struct cw_policy_address {
	struct in6_addr prefix; /* IPv4 as v4-mapped */
	uint8_t bits;
	bool exclude;
};

struct cw_policy_ports {
	uint16_t low, high;
	bool exclude;
};

struct cw_policy {
	long number[24]; /* FLAG and NUMBER options by enum cw_option */
	struct cw_policy_address address[CW_POLICY_ITEMS];
	struct cw_policy_ports port[CW_POLICY_ITEMS];
	uint32_t addresses, ports;
	bool program_excluded; /* by `programs`, for the name given to cw_policy_read */
	bool broken;           /* nothing may be moved; error says why */
	char error[256];       /* "FILE:LINE: what is wrong: what to do" */
};

enum cw_option {
#define X(name, kind, preset, low, high, argument, text) CW_OPTION_##name,
#include "options.def"
#undef X
	CW_OPTIONS
};

/* file NULL: CW_POLICY_FILE, and it may be absent; a named file must exist. program: the name that `programs` is compared with.
 * environment: as environ. Returns 0, or -1 with broken and error set. */
int cw_policy_read(struct cw_policy *policy, const char *file, const char *program, char *const environment[]);

/* May a connection with these two ends be moved? An excluded end excludes it; if something is listed without !, one end must match.
 * Ports in host order, IPv4 addresses as v4-mapped. */
bool cw_policy_admits(const struct cw_policy *policy, const struct in6_addr *local, uint16_t local_port, const struct in6_addr *remote,
		      uint16_t remote_port);

#endif
