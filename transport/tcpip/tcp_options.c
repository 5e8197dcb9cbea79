/* TCP options (RFC 9293 3.2, 2018, 7323): read and written. */
#include "transport/tcpip/tcp_options.h"

#include <string.h>

#include "transport/tcpip/bytes.h"

#define END          0u
#define NOTHING      1u
#define MSS          2u
#define WINDOW_SCALE 3u
#define SACK_OK      4u
#define SACK         5u
#define TIMESTAMPS   8u
#define USER_TIMEOUT 28u

#define MINUTES 0x8000u /* RFC 5482 section 3: the unit of the other 15 bits */

static void take(const unsigned char *option, bool syn, struct cw_tcp_options *options)
{
	unsigned length = option[1];

	switch (option[0]) {
	case MSS:
		if (syn && length == 4)
			options->mss = cw_get16(option + 2);
		break;
	case WINDOW_SCALE:
		if (syn && length == 3) {
			options->has_window_scale = true;
			options->window_scale = option[2] > 14 ? 14 : option[2]; /* RFC 7323 2.3 */
		}
		break;
	case SACK_OK:
		if (syn && length == 2)
			options->sack_permitted = true;
		break;
	case SACK:
		if (syn || length < 10 || (length - 2) % 8 != 0)
			break;
		options->sacks = (uint8_t)cw_min32((length - 2) / 8, CW_SACK_BLOCKS);
		for (unsigned i = 0; i < options->sacks; i++) {
			options->sack[i].start = cw_get32(option + 2 + 8 * i);
			options->sack[i].end = cw_get32(option + 6 + 8 * i);
		}
		break;
	case TIMESTAMPS:
		if (length == 10) {
			options->has_timestamp = true;
			options->timestamp = cw_get32(option + 2);
			options->echo = cw_get32(option + 6);
		}
		break;
	case USER_TIMEOUT:
		if (length == 4)
			options->user_timeout = (cw_get16(option + 2) & ~MINUTES) * (option[2] & 0x80 ? 60u : 1u);
		break;
	}
}

void cw_tcp_options_parse(const unsigned char *option, uint32_t length, bool syn, struct cw_tcp_options *options)
{
	if (syn)
		memset(options, 0, sizeof(*options));
	/* Nearly every segment has these twelve bytes and no more (RFC 7323 appendix A). */
	if (length == 12 && cw_get32(option) == (NOTHING << 24 | NOTHING << 16 | TIMESTAMPS << 8 | 10)) {
		options->has_timestamp = true;
		options->timestamp = cw_get32(option + 4);
		options->echo = cw_get32(option + 8);
		return;
	}
	while (length && option[0] != END) {
		if (option[0] == NOTHING) {
			option++;
			length--;
			continue;
		}
		if (length < 2 || option[1] < 2 || option[1] > length)
			return;
		take(option, syn, options);
		length -= option[1];
		option += option[1];
	}
}

uint32_t cw_tcp_options_put_timestamps(unsigned char *at, uint32_t timestamp, uint32_t echo)
{
	cw_put32(at, NOTHING << 24 | NOTHING << 16 | TIMESTAMPS << 8 | 10);
	cw_put32(at + 4, timestamp);
	cw_put32(at + 8, echo);
	return 12;
}

uint32_t cw_tcp_options_put_sack(unsigned char *at, const struct cw_sack_range *range, uint32_t count)
{
	cw_put32(at, NOTHING << 24 | NOTHING << 16 | SACK << 8 | (2 + 8 * count));
	for (uint32_t i = 0; i < count; i++) {
		cw_put32(at + 4 + 8 * i, range[i].start);
		cw_put32(at + 8 + 8 * i, range[i].end);
	}
	return 4 + 8 * count;
}

uint32_t cw_tcp_options_put_user_timeout(unsigned char *at, uint32_t seconds)
{
	uint32_t value = seconds < MINUTES ? seconds : MINUTES | cw_min32(seconds / 60, MINUTES - 1);

	cw_put32(at, USER_TIMEOUT << 24 | 4u << 16 | value);
	return 4;
}

uint32_t cw_tcp_options_put_syn(unsigned char *at, const struct cw_tcp_options *options)
{
	uint32_t length = 4;

	cw_put32(at, MSS << 24 | 4u << 16 | options->mss);
	if (options->has_timestamp)
		length += cw_tcp_options_put_timestamps(at + length, options->timestamp, options->echo);
	if (options->sack_permitted) {
		cw_put32(at + length, NOTHING << 24 | NOTHING << 16 | SACK_OK << 8 | 2);
		length += 4;
	}
	if (options->has_window_scale) {
		cw_put32(at + length, NOTHING << 24 | WINDOW_SCALE << 16 | 3u << 8 | options->window_scale);
		length += 4;
	}
	if (options->user_timeout)
		length += cw_tcp_options_put_user_timeout(at + length, options->user_timeout);
	return length;
}
