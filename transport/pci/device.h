/*
 * A window of causeway.ko (kmod/README.md), as the node service uses it: opened once, and cut into grants. Whoever gets a grant's
 * descriptor maps it as any other memory (transport/window), and nothing else of the window.
 */
#ifndef CW_TRANSPORT_PCI_DEVICE_H
#define CW_TRANSPORT_PCI_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#define CW_DEVICE_NOBODY 0xffffffffu /* no peer number: a device without bells */

struct cw_device {
	int fd; /* -1: none */
	char name[32];
	char kind[16];
	uint64_t size, generation;
	uint32_t peer, bells;
};

/* -1 with errno; EPROTO: not a window of a module that we understand. */
int cw_device_open(struct cw_device *device, const char *path);
void cw_device_close(struct cw_device *device);

/* Whom a grant's holder may ring, and which bell of this node it may wait for. */
struct cw_device_bells {
	uint32_t wait, peer, ring;
};

/* A descriptor (close-on-exec) for whole pages of the window; -1 with errno. bells NULL: none. */
int cw_device_grant(const struct cw_device *device, uint64_t at, uint64_t length, bool writable, const struct cw_device_bells *bells,
		    uint32_t *id);
/* From now on what was mapped by it is other memory, in all programs. */
void cw_device_revoke(const struct cw_device *device, uint32_t id);

/* Does what is mapped by that descriptor still show the window? Not once it was revoked, or the device is gone: zeros then. */
bool cw_device_grant_lives(int fd);

/* What the kernel knows to be granted, whoever made and whoever holds it: calls `each` for every living grant of memory. -1 with errno. */
int cw_device_grants(const struct cw_device *device, void (*each)(uint64_t at, uint64_t length, void *context), void *context);

#endif
