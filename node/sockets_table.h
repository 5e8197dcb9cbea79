/* The kernel's tables of TCP sockets (/proc/PID/net/tcp, tcp6), by inode: what a descriptor of another process is connected to. */
#ifndef CW_NODE_SOCKETS_TABLE_H
#define CW_NODE_SOCKETS_TABLE_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/types.h>

struct cw_kernel_socket {
	struct in6_addr local, remote; /* IPv4 as v4-mapped */
	uint16_t local_port, remote_port;
	unsigned state, queue_in, queue_out;
};

/* NULL if it isn't a TCP socket, or can't be found out. Valid until the process ends; nothing is ever freed. */
const struct cw_kernel_socket *cw_kernel_socket_of(pid_t pid, int fd);
const char *cw_tcp_state_name(unsigned state);
/* address:port, as ss(8) writes it. */
void cw_address_text(char *text, size_t size, const struct in6_addr *address, uint16_t port);

#endif
