#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kmod/causeway_ioctl.h"

static int look(struct cw_device *device)
{
	struct causeway_version version = {0};
	struct causeway_window window = {0};

	if (ioctl(device->fd, CAUSEWAY_IOC_VERSION, &version) < 0 || ioctl(device->fd, CAUSEWAY_IOC_WINDOW, &window) < 0)
		return errno == ENOTTY ? EPROTO : errno;
	if (!version.version)
		return EPROTO;
	/* The state word of a direction is changed by compare-and-swap from both sides. */
	if (window.memory != CAUSEWAY_WRITE_BACK)
		return EMEDIUMTYPE;
	memcpy(device->name, window.name, sizeof(device->name) - 1);
	memcpy(device->kind, window.kind, sizeof(device->kind) - 1);
	device->size = window.size;
	device->generation = window.generation;
	device->bells = window.bells;
	device->peer = window.bells ? window.peer : CW_DEVICE_NOBODY;
	return 0;
}

int cw_device_open(struct cw_device *device, const char *path)
{
	int error;

	*device = (struct cw_device){.fd = open(path, O_RDWR | O_CLOEXEC)};
	if (device->fd < 0)
		return -1;
	error = look(device);
	if (!error)
		return 0;
	cw_device_close(device);
	errno = error;
	return -1;
}

void cw_device_close(struct cw_device *device)
{
	if (device->fd >= 0)
		close(device->fd);
	device->fd = -1;
}

static void add_bells(struct causeway_grant *grant, const struct cw_device_bells *bells)
{
	grant->rights |= CAUSEWAY_MAY_WAIT | CAUSEWAY_MAY_RING;
	grant->wait_bell = bells->wait;
	grant->ring_peer = bells->peer;
	grant->ring_bell = bells->ring;
}

int cw_device_grant(const struct cw_device *device, uint64_t at, uint64_t length, bool writable, const struct cw_device_bells *bells,
		    uint32_t *id)
{
	struct causeway_grant grant = {.offset = at,
				       .length = length,
				       .rights = CAUSEWAY_MAY_READ | (writable ? CAUSEWAY_MAY_WRITE : 0),
				       .wait_bell = CAUSEWAY_NONE,
				       .ring_peer = CAUSEWAY_NONE,
				       .ring_bell = CAUSEWAY_NONE};

	if (bells)
		add_bells(&grant, bells);
	if (ioctl(device->fd, CAUSEWAY_IOC_GRANT, &grant) < 0)
		return bells && errno == EINVAL ? cw_device_grant(device, at, length, writable, NULL, id) : -1; /* no such bell there */
	if (id)
		*id = grant.id;
	return grant.fd;
}

void cw_device_revoke(const struct cw_device *device, uint32_t id)
{
	struct causeway_revoke revoke = {.id = id};

	ioctl(device->fd, CAUSEWAY_IOC_REVOKE, &revoke);
}

bool cw_device_grant_lives(int fd)
{
	struct causeway_grant_info info = {0};

	return ioctl(fd, CAUSEWAY_IOC_INFO, &info) == 0 && info.state == CAUSEWAY_LIVE;
}

int cw_device_grants(const struct cw_device *device, void (*each)(uint64_t at, uint64_t length, void *context), void *context)
{
	struct causeway_grant_info info;

	for (uint32_t id = 0;; id = info.id + 1) {
		info = (struct causeway_grant_info){.id = id};
		if (ioctl(device->fd, CAUSEWAY_IOC_NEXT, &info) < 0)
			return errno == ENOENT ? 0 : -1;
		if (info.state == CAUSEWAY_LIVE && info.length)
			each(info.offset, info.length, context);
	}
}
