#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster_inside.h"

static bool read_port(const char *text, in_port_t *port)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || number == 0 || number > 65535)
		return false;
	*port = htons((uint16_t)number);
	return true;
}

/* What stands before the port, and the port's text (NULL: none). */
static bool split(const char *text, char host[INET6_ADDRSTRLEN], const char **port)
{
	const char *end = *text == '[' ? strchr(text, ']') : strchr(text, ':');
	size_t length;

	if (*text == '[') {
		if (!end || (end[1] && end[1] != ':'))
			return false;
		text++;
		*port = end[1] ? end + 2 : NULL;
	} else if (end && !strchr(end + 1, ':')) {
		*port = end + 1;
	} else {
		end = text + strlen(text);
		*port = NULL;
	}
	length = (size_t)(end - text);
	if (length >= INET6_ADDRSTRLEN)
		return false;
	memcpy(host, text, length);
	host[length] = 0;
	return true;
}

/* Nobody can be reached at any address, at many, or at one that is another on every link. */
static bool can_be_of_a_node(const struct sockaddr_storage *address)
{
	struct in6_addr plain;

	if (!cw_address_plain((const struct sockaddr *)address, &plain))
		return false;
	if (IN6_IS_ADDR_V4MAPPED(&plain))
		return plain.s6_addr[12] != 0 && plain.s6_addr[12] < 224;
	return !IN6_IS_ADDR_UNSPECIFIED(&plain) && !IN6_IS_ADDR_MULTICAST(&plain) && !IN6_IS_ADDR_LINKLOCAL(&plain);
}

bool cw_address_read(const char *text, struct sockaddr_storage *address)
{
	struct sockaddr_in *four = (struct sockaddr_in *)address;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)address;
	char host[INET6_ADDRSTRLEN];
	const char *digits;
	in_port_t port = htons(CW_CLUSTER_PORT);

	memset(address, 0, sizeof(*address));
	if (!split(text, host, &digits) || (digits && !read_port(digits, &port)))
		return false;
	if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = port;
	} else if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = port;
	} else {
		return false;
	}
	return can_be_of_a_node(address);
}

void cw_address_write(const struct sockaddr_storage *address, char text[CW_ADDRESS_TEXT])
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
	char host[INET6_ADDRSTRLEN] = "?";

	if (address->ss_family == AF_INET) {
		inet_ntop(AF_INET, &four->sin_addr, host, sizeof(host));
		snprintf(text, CW_ADDRESS_TEXT, "%s:%u", host, ntohs(four->sin_port));
	} else {
		inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof(host));
		snprintf(text, CW_ADDRESS_TEXT, "[%s]:%u", host, ntohs(six->sin6_port));
	}
}

bool cw_address_plain(const struct sockaddr *address, struct in6_addr *plain)
{
	memset(plain, 0, sizeof(*plain));
	if (address->sa_family == AF_INET) {
		plain->s6_addr[10] = plain->s6_addr[11] = 0xff;
		memcpy(&plain->s6_addr[12], &((const struct sockaddr_in *)address)->sin_addr, 4);
	} else if (address->sa_family == AF_INET6) {
		*plain = ((const struct sockaddr_in6 *)address)->sin6_addr;
	} else {
		return false;
	}
	return true;
}

bool cw_address_same(const struct sockaddr_storage *one, const struct sockaddr_storage *other)
{
	char a[CW_ADDRESS_TEXT], b[CW_ADDRESS_TEXT];

	cw_address_write(one, a);
	cw_address_write(other, b);
	return strcmp(a, b) == 0;
}

socklen_t cw_address_length(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}
