/* Orders and answers on the channel: of one layout, whatever kind of program the peer is (of 32 bits, of another C library). */
#ifndef ORACLE_WIRE_H
#define ORACLE_WIRE_H

#include "peer.h"

bool wire_send_order(int channel, const struct peer_order *order);
bool wire_take_order(int channel, struct peer_order *order);
bool wire_send_answer(int channel, const struct peer_answer *answer);
bool wire_take_answer(int channel, struct peer_answer *answer);

#endif
