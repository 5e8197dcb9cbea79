#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uthash.h>

#include "sockets_table.h"
#include "sync/cpu.h"

struct row {
	struct cw_kernel_socket socket;
	unsigned long inode;
	UT_hash_handle hh;
};

struct namespace
{
	ino_t inode;
	struct row *rows;
	UT_hash_handle hh;
};

static struct namespace *namespaces;

/* An address as the kernel prints it: 32-bit words of network order, each printed as a number of this machine. */
static void read_address(const char *hex, struct in6_addr *address)
{
	uint32_t words[4] = {0, 0, htonl(0xffff), 0};
	int count = strlen(hex) == 8 ? 1 : 4;

	for (int i = 0; i < count; i++) {
		char digits[9] = {0};

		memcpy(digits, hex + 8 * i, 8);
		words[count == 1 ? 3 : i] = (uint32_t)strtoul(digits, NULL, 16);
	}
	memcpy(address, words, sizeof(*address));
}

static void read_row(struct namespace *space, const char *line)
{
	char local[33], remote[33];
	unsigned local_port, remote_port, state, out, in;
	unsigned long inode;
	struct row *row;

	if (sscanf(line, "%*d: %32[0-9A-F]:%x %32[0-9A-F]:%x %x %x:%x %*x:%*x %*x %*u %*u %lu", local, &local_port, remote, &remote_port,
		   &state, &out, &in, &inode) != 8 ||
	    !inode)
		return;
	row = calloc(1, sizeof(*row));
	if (!row)
		return;
	read_address(local, &row->socket.local);
	read_address(remote, &row->socket.remote);
	row->socket.local_port = (uint16_t)local_port;
	row->socket.remote_port = (uint16_t)remote_port;
	row->socket.state = state;
	row->socket.queue_in = in;
	row->socket.queue_out = out;
	row->inode = inode;
	HASH_ADD(hh, space->rows, inode, sizeof(row->inode), row);
}

static void read_table(struct namespace *space, pid_t pid, const char *table)
{
	char path[64], line[512];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/net/%s", (int)pid, table);
	file = fopen(path, "re");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file))
		read_row(space, line);
	fclose(file);
}

/* Each network namespace has tables of its own; one is read once. */
static struct namespace *namespace_of(pid_t pid)
{
	struct namespace *space;
	char path[64];
	struct stat info;
	ino_t inode;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	if (stat(path, &info) < 0)
		return NULL;
	inode = info.st_ino;
	HASH_FIND(hh, namespaces, &inode, sizeof(inode), space);
	if (space)
		return space;
	space = calloc(1, sizeof(*space));
	if (!space)
		return NULL;
	space->inode = inode;
	HASH_ADD(hh, namespaces, inode, sizeof(space->inode), space);
	read_table(space, pid, "tcp");
	read_table(space, pid, "tcp6");
	return space;
}

const struct cw_kernel_socket *cw_kernel_socket_of(pid_t pid, int fd)
{
	struct namespace *space;
	struct stat info;
	char path[64];
	unsigned long inode;
	struct row *row;

	if (pid <= 0 || fd < 0)
		return NULL;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
	if (stat(path, &info) < 0 || !S_ISSOCK(info.st_mode) || !(space = namespace_of(pid)))
		return NULL;
	inode = info.st_ino;
	HASH_FIND(hh, space->rows, &inode, sizeof(inode), row);
	return row ? &row->socket : NULL;
}

const char *cw_tcp_state_name(unsigned state)
{
	static const char *const names[] = {"-",      "ESTAB",      "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT",
					    "CLOSED", "CLOSE-WAIT", "LAST-ACK", "LISTEN",   "CLOSING",    "SYN-RECV"};

	return names[state < CW_ARRAY_SIZE(names) ? state : 0];
}

void cw_address_text(char *text, size_t size, const struct in6_addr *address, uint16_t port)
{
	char numbers[INET6_ADDRSTRLEN];

	if (IN6_IS_ADDR_V4MAPPED(address)) {
		inet_ntop(AF_INET, &address->s6_addr[12], numbers, sizeof(numbers));
		snprintf(text, size, "%s:%u", numbers, port);
	} else {
		inet_ntop(AF_INET6, address, numbers, sizeof(numbers));
		snprintf(text, size, "[%s]:%u", numbers, port);
	}
}
