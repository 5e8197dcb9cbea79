#!/bin/sh
# In a guest with a device: node 0 or 1 of two, as /words says. Node 1 is killed at the end; node 0 goes on with its device.
. /words
echo 8 >/proc/sys/kernel/printk
/tests/node "$NODE" pair || { echo "not ok kmod/node$NODE # see above"; exit 1; }
/tests/node "$NODE" leave || { echo "not ok kmod/device # see above"; exit 1; }
rmmod causeway && echo "ok kmod/device_unload"
