#!/bin/sh
# In a guest by itself: the module's scenarios, then nonsense for a while. $SECONDS_OF_NONSENSE and $SEED come in /words.
[ ! -e /words ] || . /words
echo 8 >/proc/sys/kernel/printk
bad=0
[ -e /dev/causeway/control ] || { echo "not ok kmod/load # no control node"; exit 1; }
/tests/scenarios $SCENARIOS || bad=1
/tests/fuzz "${SECONDS_OF_NONSENSE:-5}" "${SEED:-1}" || bad=1
if rmmod causeway; then echo "ok kmod/unload"; else echo "not ok kmod/unload # something of it is in use"; bad=1; fi
dmesg | tail -n 5
exit $bad
