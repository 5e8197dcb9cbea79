/* TUN devices: tun.h. */
#include "tun.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

static bool give_address(struct ifreq *request, unsigned long call, uint32_t address, int control)
{
	struct sockaddr_in ip4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};

	memcpy(&request->ifr_addr, &ip4, sizeof(ip4));
	return ioctl(control, call, request) == 0;
}

static bool give_address6(struct ifreq *request, int control, int control6)
{
	struct in6_ifreq address = {.ifr6_prefixlen = 64, .ifr6_addr.s6_addr = {0xfd, 9, [15] = 1}};

	if (ioctl(control, SIOCGIFINDEX, request) != 0)
		return false;
	address.ifr6_ifindex = request->ifr_ifindex;
	return ioctl(control6, SIOCSIFADDR, &address) == 0;
}

static const char *bring_up(struct ifreq *request, unsigned network, int control, int control6)
{
	if (!give_address(request, SIOCSIFADDR, 0x0a090001u + (network << 8), control) ||
	    !give_address(request, SIOCSIFNETMASK, 0xffff0000u, control))
		return "the device's address";
	request->ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(control, SIOCSIFFLAGS, request) != 0)
		return "the device up";
	return give_address6(request, control, control6) ? NULL : "the device's IPv6 address";
}

static const char *set_up(int tun, unsigned network, bool large)
{
	struct ifreq request = {.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | (large ? IFF_VNET_HDR : 0))};
	int control, control6, header = sizeof(struct virtio_net_hdr);
	const char *what;

	if (ioctl(tun, TUNSETIFF, &request) != 0)
		return "a TUN device";
	if (large && ioctl(tun, TUNSETVNETHDRSZ, &header) != 0)
		return "the device's header";
	if (large && ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) != 0)
		return "the device's offloads";
	control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	control6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	what = bring_up(&request, network, control, control6);
	close(control);
	close(control6);
	return what;
}

int tun_make(unsigned network, bool large, const char **what)
{
	int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	*what = tun < 0 ? "/dev/net/tun" : set_up(tun, network, large);
	if (!*what) {
		usleep(50000); /* until the kernel takes the link for one that is up, nothing goes by it */
		return tun;
	}
	if (tun >= 0)
		close(tun);
	return -1;
}

bool tun_read(int tun, unsigned char *bytes, uint32_t size, struct cw_frame *frame)
{
	struct virtio_net_hdr header;
	struct iovec part[2] = {{&header, sizeof(header)}, {bytes, size}};
	ssize_t length = readv(tun, part, 2);

	if (length <= (ssize_t)sizeof(header))
		return false;
	*frame = (struct cw_frame){.pieces = 1, .length = (uint32_t)length - (uint32_t)sizeof(header)};
	if (header.gso_type != VIRTIO_NET_HDR_GSO_NONE)
		frame->segment_size = header.gso_size;
	if (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		frame->checksum = CW_CHECKSUM_PARTIAL;
	else if (header.flags & VIRTIO_NET_HDR_F_DATA_VALID)
		frame->checksum = CW_CHECKSUM_VALID;
	frame->piece[0] = (struct cw_piece){bytes, frame->length};
	return true;
}

bool tun_write(int tun, const struct cw_frame *frame)
{
	struct virtio_net_hdr header = {0};
	struct iovec part[CW_FRAME_PIECES + 1] = {{&header, sizeof(header)}};

	if (frame->checksum == CW_CHECKSUM_PARTIAL) {
		header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		header.csum_start = frame->checksum_start;
		header.csum_offset = frame->checksum_offset;
	}
	if (frame->segment_size) {
		header.gso_type = frame->piece[0].at[0] >> 4 == 6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
		header.gso_size = (uint16_t)frame->segment_size;
		header.hdr_len = (uint16_t)frame->piece[0].length;
	}
	for (uint32_t i = 0; i < frame->pieces; i++)
		part[i + 1] = (struct iovec){(void *)(uintptr_t)frame->piece[i].at, frame->piece[i].length};
	return writev(tun, part, (int)frame->pieces + 1) >= 0 || errno == EAGAIN || errno == ENOBUFS;
}

struct cw_ip_endpoint tun_core_end(bool ip6, unsigned host, uint16_t port)
{
	struct cw_ip_endpoint end = {.port = port};
	uint8_t *octet = end.address.octet;

	if (ip6) {
		octet[0] = 0xfd;
		octet[1] = 9;
	} else {
		octet[10] = octet[11] = 0xff;
		octet[12] = 10;
		octet[13] = 9;
	}
	octet[15] = (uint8_t)host;
	return end;
}

socklen_t tun_sockaddr(const struct cw_ip_address *address, bool ip6, uint16_t port, struct sockaddr_storage *storage)
{
	struct sockaddr_in *four = (struct sockaddr_in *)storage;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)storage;

	memset(storage, 0, sizeof(*storage));
	if (ip6) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(port);
		memcpy(&six->sin6_addr, address->octet, 16);
		return sizeof(*six);
	}
	four->sin_family = AF_INET;
	four->sin_port = htons(port);
	memcpy(&four->sin_addr, address->octet + 12, 4);
	return sizeof(*four);
}

socklen_t tun_kernel_end(bool ip6, unsigned host, uint16_t port, struct sockaddr_storage *storage)
{
	struct cw_ip_endpoint end = tun_core_end(ip6, host, port);

	return tun_sockaddr(&end.address, ip6, port, storage);
}

bool tun_possible(const char *test)
{
	if (access("/dev/net/tun", R_OK | W_OK) == 0 && geteuid() == 0)
		return true;
	printf("skip tcpip/%s # needs root and /dev/net/tun\n", test);
	return false;
}

bool tun_setting(const char *name, const char *value)
{
	char path[128];
	int file;
	bool good;

	snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
	file = open(path, O_WRONLY | O_CLOEXEC);
	if (file < 0)
		return false;
	good = write(file, value, strlen(value)) == (ssize_t)strlen(value);
	close(file);
	return good;
}
