/* TCP options written, each padded to a multiple of four bytes; returns what was written. */
#ifndef CW_TCPIP_TCP_OPTIONS_H
#define CW_TCPIP_TCP_OPTIONS_H

#include "transport/tcpip/tcp_segment.h"

uint32_t cw_tcp_options_put_timestamps(unsigned char *at, uint32_t timestamp, uint32_t echo);
uint32_t cw_tcp_options_put_sack(unsigned char *at, const struct cw_sack_range *range, uint32_t count);
uint32_t cw_tcp_options_put_user_timeout(unsigned char *at, uint32_t seconds);
uint32_t cw_tcp_options_put_syn(unsigned char *at, const struct cw_tcp_options *options);

#endif
