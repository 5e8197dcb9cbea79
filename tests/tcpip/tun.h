/* TUN devices, in the network namespace that the calling thread is in. */
#ifndef CW_TESTS_TCPIP_TUN_H
#define CW_TESTS_TCPIP_TUN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "transport/tcpip/tcpip.h"

/* Up, with 10.9.NETWORK.1/16 and fd09::1/64. `large`: with the header of virtio, and with frames of up to 64 KiB and partial checksums both
 * ways; else plain packets. The descriptor doesn't block. Returns -1, and what was missing in *what. */
int tun_make(unsigned network, bool large, const char **what);
/* Of a large one. The next frame from the kernel, in `bytes`; false: there is none. */
bool tun_read(int tun, unsigned char *bytes, uint32_t size, struct cw_frame *frame);
/* False: the kernel refuses it. What it has no room for is lost. */
bool tun_write(int tun, const struct cw_frame *frame);
/* 10.9.0.HOST or fd09::HOST, for the core and for the kernel. */
struct cw_ip_endpoint tun_core_end(bool ip6, unsigned host, uint16_t port);
socklen_t tun_kernel_end(bool ip6, unsigned host, uint16_t port, struct sockaddr_storage *storage);
/* An address of the core as the kernel's programs have it. */
socklen_t tun_sockaddr(const struct cw_ip_address *address, bool ip6, uint16_t port, struct sockaddr_storage *storage);
/* False, and said so: no device can be made here. */
bool tun_possible(const char *test);
/* A value for a file in /proc/sys/net. */
bool tun_setting(const char *name, const char *value);

#endif
