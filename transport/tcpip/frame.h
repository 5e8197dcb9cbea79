/* Bytes of a frame, whatever its pieces. */
#ifndef CW_TCPIP_FRAME_H
#define CW_TCPIP_FRAME_H

#include "transport/tcpip/bytes.h"

static inline void cw_frame_copy(const struct cw_frame *frame, uint32_t offset, unsigned char *to, uint32_t length)
{
	for (uint32_t i = 0; i < frame->pieces && length; i++) {
		const struct cw_piece *piece = &frame->piece[i];
		uint32_t take;

		if (offset >= piece->length) {
			offset -= piece->length;
			continue;
		}
		take = cw_min32(piece->length - offset, length);
		memcpy(to, piece->at + offset, take);
		to += take;
		length -= take;
		offset = 0;
	}
}

/* Of the bytes from `offset` on, how many lie behind each other in the first piece. */
static inline uint32_t cw_frame_at_once(const struct cw_frame *frame, uint32_t offset, uint32_t length)
{
	return frame->piece[0].length > offset ? cw_min32(frame->piece[0].length - offset, length) : 0;
}

#endif
