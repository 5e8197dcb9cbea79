/* Words of a line, and what they mean. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datagrams.h"

void words_split(struct words *words, const char *line)
{
	char *word, *rest;

	words->count = 0;
	snprintf(words->text, sizeof(words->text), "%s", line);
	for (word = strtok_r(words->text, " \t", &rest); word && words->count < MOST_WORDS; word = strtok_r(NULL, " \t", &rest))
		words->word[words->count++] = word;
}

const char *words_value(const struct words *words, const char *key)
{
	size_t length = strlen(key);

	for (unsigned i = 0; i < words->count; i++)
		if (strncmp(words->word[i], key, length) == 0 && words->word[i][length] == '=')
			return words->word[i] + length + 1;
	return NULL;
}

bool words_has(const struct words *words, const char *flag)
{
	for (unsigned i = 0; i < words->count; i++)
		if (strcmp(words->word[i], flag) == 0)
			return true;
	return false;
}

uint32_t words_number(const struct words *words, const char *key, uint32_t otherwise)
{
	const char *value = words_value(words, key);

	return value ? (uint32_t)strtoul(value, NULL, 0) : otherwise;
}

bool parse_address(const char *text, struct cw_ip_address *address)
{
	struct in_addr four;

	if (inet_pton(AF_INET, text, &four) == 1) {
		memset(address->octet, 0, 10);
		memset(address->octet + 10, 0xff, 2);
		memcpy(address->octet + 12, &four, 4);
		return true;
	}
	return inet_pton(AF_INET6, text, address->octet) == 1;
}

bool parse_endpoint(const char *text, struct cw_ip_endpoint *end)
{
	char copy[80], *colon, *address = copy;

	snprintf(copy, sizeof(copy), "%s", text);
	colon = strrchr(copy, ':');
	if (!colon || colon == copy)
		return false;
	*colon = 0;
	if (copy[0] == '[') {
		colon[-1] = 0;
		address++;
	}
	end->port = (uint16_t)strtoul(colon + 1, NULL, 0);
	return parse_address(address, &end->address);
}

void name_address(const struct cw_ip_address *address, char text[64])
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (memcmp(address->octet, mapped, 12) == 0)
		inet_ntop(AF_INET, address->octet + 12, text, 64);
	else
		inet_ntop(AF_INET6, address->octet, text, 64);
}

bool parse_mac(const char *text, unsigned char mac[6])
{
	unsigned value[6];

	if (sscanf(text, "%x:%x:%x:%x:%x:%x", value, value + 1, value + 2, value + 3, value + 4, value + 5) != 6)
		return false;
	for (unsigned i = 0; i < 6; i++)
		mac[i] = (unsigned char)value[i];
	return true;
}

unsigned char pattern(uint32_t at)
{
	return (unsigned char)((at * 2654435761u) >> 24);
}

bool content_is(const unsigned char *at, uint32_t length, const char *wanted)
{
	char *rest;
	uint32_t count = (uint32_t)strtoul(wanted, &rest, 0), offset = *rest == '@' ? (uint32_t)strtoul(rest + 1, NULL, 0) : 0;

	if (length != count)
		return false;
	for (uint32_t i = 0; i < count; i++)
		if (at[i] != pattern(offset + i))
			return false;
	return true;
}

uint32_t content_of(const struct words *words, unsigned char *at)
{
	const char *content = words_value(words, "content"), *hex = words_value(words, "hex");
	uint32_t count = 0, offset = 0;
	char *rest;

	if (content) {
		count = (uint32_t)strtoul(content, &rest, 0);
		offset = *rest == '@' ? (uint32_t)strtoul(rest + 1, NULL, 0) : 0;
		for (uint32_t i = 0; i < count; i++)
			at[i] = pattern(offset + i);
		return count;
	}
	for (; hex && hex[0] && hex[1]; hex += 2) {
		unsigned value;

		if (sscanf(hex, "%2x", &value) != 1)
			break;
		at[count++] = (unsigned char)value;
	}
	return count;
}
