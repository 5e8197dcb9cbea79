#include "wire.h"

struct wire {
	int32_t word[6];
	int64_t count[2];
	uint32_t length, unused;
	unsigned char address[128];
};

_Static_assert(sizeof(struct wire) == 176, "no padding that depends on the machine");

static void put_address(struct wire *wire, const struct sockaddr_storage *address, socklen_t length)
{
	wire->length = length;
	memcpy(wire->address, address, sizeof(wire->address));
}

static void take_address(const struct wire *wire, struct sockaddr_storage *address, socklen_t *length)
{
	*length = wire->length;
	memcpy(address, wire->address, sizeof(wire->address));
}

static bool take_wire(int channel, struct wire *wire)
{
	ssize_t n;

	do
		n = read(channel, wire, sizeof(*wire));
	while (n < 0 && errno == EINTR);
	return n == sizeof(*wire);
}

bool wire_send_order(int channel, const struct peer_order *order)
{
	struct wire wire = {
		{(int)order->does, (int)order->number, order->delay_ms, order->flags, 0, 0}, {order->count, order->more}, 0, 0, {0}};

	put_address(&wire, &order->address, order->length);
	return write(channel, &wire, sizeof(wire)) == sizeof(wire);
}

bool wire_take_order(int channel, struct peer_order *order)
{
	struct wire wire;

	if (!take_wire(channel, &wire))
		return false;
	*order = (struct peer_order){.does = (enum peer_does)wire.word[0],
				     .number = (unsigned)wire.word[1],
				     .delay_ms = wire.word[2],
				     .flags = wire.word[3],
				     .count = (long)wire.count[0],
				     .more = (long)wire.count[1]};
	take_address(&wire, &order->address, &order->length);
	return true;
}

bool wire_send_answer(int channel, const struct peer_answer *answer)
{
	struct wire wire = {{answer->error, answer->bad, 0, 0, 0, 0}, {answer->result, 0}, 0, 0, {0}};

	put_address(&wire, &answer->address, answer->length);
	return write(channel, &wire, sizeof(wire)) == sizeof(wire);
}

bool wire_take_answer(int channel, struct peer_answer *answer)
{
	struct wire wire;

	if (!take_wire(channel, &wire))
		return false;
	*answer = (struct peer_answer){.result = (long)wire.count[0], .error = wire.word[0], .bad = wire.word[1] != 0};
	take_address(&wire, &answer->address, &answer->length);
	return true;
}
