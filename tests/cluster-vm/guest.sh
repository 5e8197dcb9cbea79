#!/bin/sh
# The test of a guest that is a node: it does what the host asks for on the second serial line. A line a command; its output is followed by
# a line of its own with its status. Ends with 0 when the line `the end` comes. NODE, its number, and FURTHER, the node beside its second card, are of
# the kernel's command line.
echo 8 >/proc/sys/kernel/printk
hostname "node$NODE"
ip address add "10.97.0.$NODE/24" dev eth0
ip link set eth0 mtu 9000 up
ip link set eth1 mtu 9000 up
ip route add "10.97.0.$FURTHER" dev eth1 src "10.97.0.$NODE" # the other of the two is beside eth0
mkdir -p /etc/causeway /var/log
export PATH=/causeway:/tests:/usr/bin:/bin HOME=/root
cd /tmp || exit 1
stty -F /dev/ttyS1 raw -echo
exec 3<>/dev/ttyS1
printf 'ready\n' >&3
while read -r line <&3; do
	[ "$line" != "the end" ] || exit 0
	timeout -s KILL 150 sh -c "$line" >/tmp/said 2>&1 </dev/null 3>&-
	status=$?
	cat /tmp/said >&3
	printf '\nstatus %s\n' "$status" >&3
done
exit 1
