# Runs once inside the namespaces of a new machine, as: sh -s -- DISK PROGRAM...
# Everything done here is seen by this machine alone and ends with its first process.
set -eu
disk=$1
shift

# Pods mount volumes that the kubelet must see, and the other way round.
# (Until /run is the machine's own, -n: mount would keep a folder for itself in the host's.)
mount -n --make-rshared /

# The machine's own /run and /var: sockets and pid files die with it, its disk outlives it.
# The programs come along first: they may lie in the host's /var.
mount -n -t tmpfs -o mode=755 tmpfs /run
mkdir /run/bin /run/lock /run/tunables
for program; do
    name=/run/bin/${program##*/}
    : > "$name"
    mount --bind "$program" "$name"
done
mkdir -p "$disk/lib" "$disk/log" "$disk/tmp"
[ -L "$disk/run" ] || ln -s ../run "$disk/run"
[ -L "$disk/lock" ] || ln -s ../run/lock "$disk/lock"
mount --bind "$disk" /var

# The kubelet writes these host-wide settings unless they already read as it wants them.
# Shown to it here as files, they stay untouched on the host.
tunable() {
    file=/run/tunables/${1##*/}
    echo "$2" > "$file"
    mount --bind "$file" "/proc/sys/$1"
}
tunable vm/overcommit_memory 1
tunable vm/panic_on_oom 0
tunable kernel/panic 10
tunable kernel/panic_on_oops 1
tunable kernel/keys/root_maxkeys 1000000
tunable kernel/keys/root_maxbytes 25000000

# These two belong to the machine's own network namespace.
echo 1 > /proc/sys/net/ipv4/ip_forward
ip link set lo up
