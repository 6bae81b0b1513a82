# SPDX-License-Identifier: Apache-2.0
"""Runs inside user-mode-linux as its init: does the steps of a job with the real device-mapper.

The host (uml.py) starts it with the path of a shared folder, which holds job.json and the images; it
leaves result.json there and powers the guest off. It needs no other program than lvm.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import json
import mmap
import os
import random
import shutil
import stat
import struct
import subprocess
import sys
import time
import traceback

LIBC = ctypes.CDLL(None, use_errno=True)
SHARED = "/run/shared"
MODULES = ("block/loop", "md/dm-mod", "md/dm-bufio", "md/dm-snapshot", "md/dm-delay", "md/dm-log-writes")
LOOP_SET_FD, LOOP_CLR_FD, LOOP_SET_STATUS64, LOOP_CTL_GET_FREE = 0x4C00, 0x4C01, 0x4C04, 0x4C82
BLKGETSIZE64 = 0x80081272
BLKDISCARD = 0x1277
FIBMAP, BLOCK = 1, 4096
# Device-mapper's ioctls by their numbers; sizes of struct dm_ioctl and struct dm_target_spec.
DM_COMMANDS = ("version", "remove_all", "list", "create", "remove", "rename", "suspend", "dev_status", "wait", "load", "clear", "deps",
               "status")
DM_HEAD, DM_TARGET = 312, 40
DM_SUSPEND = 1 << 1
POWER_OFF = 0x4321FEDC
PIECE = 1 << 20
# The kernel rounds it up to a jiffy; slow enough for a merge to be stopped in its middle.
DELAY_MS = 10


def check(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(kind, target, data="", source="none"):
    check(LIBC.mount(source.encode(), target.encode(), kind.encode(), 0, data.encode()), f"mount {target}")


def load_module(name):
    """What insmod does, by the system call: kmod need not be installed."""
    finit_module = 350 if sys.maxsize < 2**32 else 313
    release = os.uname().release
    fd = os.open(f"/usr/lib/uml/modules/{release}/kernel/drivers/{name}.ko", os.O_RDONLY)
    check(LIBC.syscall(finit_module, fd, b"", 0), f"module {name}")
    os.close(fd)


def dm_ioctl(command, name, flags=0, targets=b"", target_count=0):
    """One ioctl of device-mapper (linux/dm-ioctl.h); returns the device's number and the targets that it gave."""
    size = 16384
    head = struct.pack("=3I2IIiIIIQ128s129s7x", 4, 0, 0, size, DM_HEAD, target_count, 0, flags, 0, 0, 0, name.encode(), b"")
    buffer = bytearray((head + targets).ljust(size, b"\0"))
    control = os.open("/dev/mapper/control", os.O_RDWR)
    try:
        fcntl.ioctl(control, 3 << 30 | DM_HEAD << 16 | 0xFD << 8 | DM_COMMANDS.index(command), buffer)
    finally:
        os.close(control)
    start, count = struct.unpack_from("=II", buffer, 16)
    number, = struct.unpack_from("=Q", buffer, 40)
    found, at = [], start
    for _ in range(count if command == "status" else 0):
        first, sectors, _, following, kind = struct.unpack_from("=QQiI16s", buffer, at)
        text = bytes(buffer[at + DM_TARGET:buffer.index(b"\0", at + DM_TARGET)]).decode()
        found.append(f"{first} {sectors} {kind.rstrip(bytes(1)).decode()} {text}")
        at = start + following
    return number, found


def load_table(name, *lines):
    targets = b""
    for line in lines:
        first, sectors, kind, parameters = line.split(" ", 3)
        text = parameters.encode() + b"\0"
        text += bytes(-len(text) % 8)
        targets += struct.pack("=QQiI16s", int(first), int(sectors), 0, DM_TARGET + len(text), kind.encode()) + text
    dm_ioctl("load", name, 0, targets, len(lines))


def dmsetup(verb, name, *arguments):
    """What dmsetup does, by the ioctls: a process in the guest costs a tenth of a second."""
    try:
        if verb == "create":
            number, _ = dm_ioctl("create", name)
            try:
                load_table(name, arguments[1])
                dm_ioctl("suspend", name)
            except OSError:
                dm_ioctl("remove", name)
                raise
            os.mknod(f"/dev/mapper/{name}", stat.S_IFBLK | 0o600,
                     os.makedev(number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00))
        elif verb == "load":
            load_table(name, arguments[1])
        elif verb == "suspend":
            dm_ioctl("suspend", name, DM_SUSPEND)
        elif verb == "resume":
            dm_ioctl("suspend", name)
        elif verb == "remove":
            dm_ioctl("remove", name)
            os.unlink(f"/dev/mapper/{name}")
        elif verb == "status":
            return "\n".join(dm_ioctl("status", name)[1]).strip()
        else:
            raise ValueError(verb)
    except OSError as error:
        raise RuntimeError(f"dmsetup {verb} {name} {' '.join(arguments)}: {error}") from error
    return ""


@contextlib.contextmanager
def copied(name):
    """An image of the shared folder, copied into memory (where holes can be punched), and back at the end."""
    inside = f"/run/{name}"
    shutil.copyfile(f"{SHARED}/{name}", inside)
    try:
        yield inside
    finally:
        shutil.copyfile(inside, f"{SHARED}/{name}")
        os.unlink(inside)


@contextlib.contextmanager
def loop_device(name, offset=0, size=0):
    """A loop device over (a part of) an image of the shared folder, or one with an absolute path."""
    control = os.open("/dev/loop-control", os.O_RDWR)
    device = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
    os.close(control)
    image = os.open(os.path.join(SHARED, name), os.O_RDWR)
    loop = os.open(device, os.O_RDWR)
    fcntl.ioctl(loop, LOOP_SET_FD, image)
    os.close(image)
    if offset or size:
        # struct loop_info64, of which the kernel takes offset and limit here.
        info = struct.pack("3Q2Q4I64s64s32s2Q", 0, 0, 0, offset, size, 0, 0, 0, 0, b"", b"", b"", 0, 0)
        fcntl.ioctl(loop, LOOP_SET_STATUS64, info)
    try:
        yield device
    finally:
        fcntl.ioctl(loop, LOOP_CLR_FD)
        os.close(loop)


@contextlib.contextmanager
def mapped(name, table):
    """A device-mapper device with a table of one line; '{}' in it is the origin's size."""
    dmsetup("create", name, "--table", table)
    try:
        yield f"/dev/mapper/{name}"
    finally:
        dmsetup("remove", name)


def sectors_of(device):
    fd = os.open(device, os.O_RDONLY)
    size = bytearray(8)
    fcntl.ioctl(fd, BLKGETSIZE64, size)
    os.close(fd)
    return int.from_bytes(size, sys.byteorder) // 512


def read_device(device):
    """All of it, past the page cache."""
    buffer = mmap.mmap(-1, PIECE)
    fd = os.open(device, os.O_RDONLY | os.O_DIRECT)
    content = bytearray()
    while (got := os.preadv(fd, [buffer], len(content))) > 0:
        content += buffer[:got]
    os.close(fd)
    return content


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def write_device(fd, sector, data):
    """One O_DIRECT write, so that the kernel sees exactly this size."""
    buffer = mmap.mmap(-1, len(data))
    buffer[:] = data
    if os.pwrite(fd, buffer, sector * 512) != len(data):
        raise RuntimeError(f"short write at sector {sector}")


class Pair:
    """An origin and a COW, as a step names them, attached to loop devices."""

    def __init__(self, stack, step):
        self.origin = stack.enter_context(loop_device(step["origin"]))
        self.cow = stack.enter_context(loop_device(step["cow"]))
        self.chunk = step["chunk"]
        self.sectors = sectors_of(self.origin)

    def table(self, target, origin=None):
        return f"0 {self.sectors} {target} {origin or self.origin} {self.cow} P {self.chunk}"

    def view(self):
        """Attaches the snapshot afresh: its status, its content."""
        with mapped("view", self.table("snapshot")) as view:
            return dmsetup("status", "view"), read_device(view)


def do_view(pair, _step):
    status, content = pair.view()
    return {"status": status, "view": sha256(content), "origin": sha256(read_device(pair.origin))}


def do_look(pair, step):
    """What the kernel makes of a store that may be damaged: whether it takes it, and what each chunk reads as."""
    try:
        dmsetup("create", "view", "--table", pair.table("snapshot"))
    except RuntimeError:
        return {"accepted": False}
    size = step["chunk"] * 512
    buffer = mmap.mmap(-1, size)
    chunks = []
    fd = os.open("/dev/mapper/view", os.O_RDONLY | os.O_DIRECT)
    for offset in range(0, pair.sectors * 512, size):
        try:
            got = os.preadv(fd, [buffer], offset)
            chunks.append(sha256(buffer[:got])[:16])
        except OSError:
            chunks.append(None)
    os.close(fd)
    status = dmsetup("status", "view")
    dmsetup("remove", "view")
    return {"accepted": True, "status": status, "chunks": chunks}


def do_write(pair, step):
    """Writes through the snapshot and the origin; a new store is made when the COW begins with zeros.

    "expected" is what was read before with the writes to the snapshot laid over it.
    """
    table = f"0 {pair.sectors} snapshot-origin {pair.origin}"
    # The origin comes second: it learns the chunk size of its snapshots when it is resumed.
    with mapped("view", pair.table("snapshot")) as view, mapped("origin", table) as origin:
        expected = read_device(view)
        before = sha256(expected)
        fds = {name: os.open(path, os.O_RDWR | os.O_DIRECT)
               for name, path in (("snapshot", view), ("origin", origin))}
        for target, sector, length, seed in step["writes"]:
            data = random.Random(seed).randbytes(length * 512)
            write_device(fds[target], sector, data)
            if target == "snapshot":
                expected[sector * 512:sector * 512 + len(data)] = data
        for fd in fds.values():
            os.close(fd)
        result = {"status": dmsetup("status", "view"), "view": sha256(read_device(view))}
    again, content = pair.view()
    return result | {"before": before, "expected": sha256(expected), "status_again": again,
                     "view_again": sha256(content), "origin": sha256(read_device(pair.origin))}


def allocated_and_metadata(status):
    fields = status.split()
    return fields[3].partition("/")[0], fields[4]


def do_merge(pair, step):
    """The snapshot-merge target, until nothing is left or, with "stop", that long after it began."""
    before, content = pair.view()
    stop = step.get("stop")
    with contextlib.ExitStack() as stack:
        origin = pair.origin
        if stop is not None:
            slow = f"0 {pair.sectors} delay {origin} 0 0 {origin} 0 {DELAY_MS}"
            origin = stack.enter_context(mapped("slow", slow))
        stack.enter_context(mapped("merge", pair.table("snapshot-merge", origin)))
        deadline = time.monotonic() + 60
        while True:
            live = dmsetup("status", "merge")
            allocated, metadata = allocated_and_metadata(live)
            if allocated == metadata:
                break
            if stop is not None and allocated != allocated_and_metadata(before)[0]:
                time.sleep(stop)
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"the merge hangs: {live}")
            time.sleep(0.01)
    after, view = pair.view()
    return {"before": before, "view": sha256(content), "live": live, "status": after,
            "view_after": sha256(view), "origin": sha256(read_device(pair.origin))}


class Live:
    """The snapshots of one origin, active together, as a "session" step names them."""

    def __init__(self, stack, step):
        self.stack = stack
        self.origin = self.attach(step["origin"])
        self.sectors = sectors_of(self.origin)
        self.features = step["features"]
        self.specs = {spec["name"]: spec for spec in step["snapshots"]}
        self.cows = {cow: self.attach(cow)
                     for cow in sorted({spec["cow"] for spec in self.specs.values()})}
        self.removed = {}
        self.fds = {}
        stack.callback(self.close)
        for name, spec in self.specs.items():
            if not spec.get("waits"):
                self.create(name)
        # The origin comes last: it learns the chunk size of its snapshots when it is resumed.
        self.piece = min(spec["chunk"] for spec in self.specs.values())
        dmsetup("create", "o", "--table", f"0 {self.sectors} snapshot-origin {self.origin}")
        self.fds["o"] = os.open("/dev/mapper/o", os.O_RDWR | os.O_DIRECT)

    def attach(self, name):
        return self.stack.enter_context(loop_device(self.stack.enter_context(copied(name))))

    def table(self, name, target="snapshot"):
        spec = self.specs[name]
        words = [spec["kind"], str(spec["chunk"])]
        if target == "snapshot" and self.features:
            words += [str(len(self.features)), *self.features]
        return f"0 {self.sectors} {target} {self.origin} {self.cows[spec['cow']]} {' '.join(words)}"

    def create(self, name):
        dmsetup("create", name, "--table", self.table(name))
        self.fds[name] = os.open(f"/dev/mapper/{name}", os.O_RDWR | os.O_DIRECT)

    def close(self):
        for name in list(self.fds):
            os.close(self.fds.pop(name))
            dmsetup("remove", name)

    def pieces(self, sector, length, chunk):
        """The range, cut where the kernel would cut it."""
        while length > 0:
            take = min(length, chunk - sector % chunk)
            yield sector, take
            sector += take
            length -= take

    def write(self, device, chunk, op):
        data = random.Random(op["seed"]).randbytes(op["length"] * 512)
        for sector, length in self.pieces(op["sector"], op["length"], chunk):
            start = (sector - op["sector"]) * 512
            write_device(self.fds[device], sector, data[start:start + length * 512])

    def do(self, op):
        verb = op["do"]
        name = op.get("name")
        if name in self.removed:
            if verb == "status":
                return self.removed[name]
            raise OSError(f"{name} was handed over")
        if verb == "write":
            self.write(name, self.specs[name]["chunk"], op)
        elif verb == "write-origin":
            self.write("o", self.piece, op)
        elif verb == "read":
            buffer = mmap.mmap(-1, op["length"] * 512)
            if os.preadv(self.fds[name], [buffer], op["sector"] * 512) != len(buffer):
                raise OSError("short read")
            return sha256(buffer)
        elif verb == "discard":
            for sector, length in self.pieces(op["sector"], op["length"], self.specs[name]["chunk"]):
                fcntl.ioctl(self.fds[name], BLKDISCARD, struct.pack("QQ", sector * 512, length * 512))
        elif verb == "status":
            return dmsetup("status", name)
        elif verb == "handover":
            dmsetup("suspend", name)
            self.create(op["to"])
            self.removed[name] = dmsetup("status", name)
            os.close(self.fds.pop(name))
            dmsetup("remove", name)
        elif verb == "merge":
            self.merge(name)
        return None

    def merge(self, name):
        dmsetup("load", name, "--table", self.table(name, "snapshot-merge"))
        dmsetup("suspend", name)
        dmsetup("resume", name)
        deadline = time.monotonic() + 60
        while True:
            live = dmsetup("status", name)
            allocated, metadata = allocated_and_metadata(live)
            if allocated == metadata:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the merge hangs: {live}")
            time.sleep(0.005)


def do_session(step):
    """Requests one after the other, each in the pieces in which the kernel takes them.

    Each result is what the request gave (a sum, a status line, nothing), or that it was refused.
    """
    results = []
    with contextlib.ExitStack() as stack:
        live = Live(stack, step)
        for op in step["ops"]:
            try:
                results.append({"gave": live.do(op)})
            except OSError as error:
                results.append({"refused": str(error)})
    return {"results": results}


def do_copy(step):
    for source, target in step["files"]:
        with open(f"{SHARED}/{source}", "rb") as old, open(f"{SHARED}/{target}", "wb") as new:
            while piece := old.read(PIECE):
                new.write(piece)
    return {}


def do_on_file_system(step):
    """Runs commands in a folder of a file system with these files, and mounts it anew before their results are read."""
    folder, runs = "/run/mounted", []
    os.makedirs(folder, exist_ok=True)
    with contextlib.ExitStack() as stack:
        device = stack.enter_context(loop_device(step["disk"]))
        mount(step["kind"], folder, source=device)
        for name in step["files"]:
            shutil.copyfile(f"{SHARED}/{name}", f"{folder}/{name}")
        os.sync()
        before = os.statvfs(folder)
        for command in step["commands"]:
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
            runs.append({"status": done.returncode, "stderr": done.stderr})
        os.sync()
        used = (before.f_bfree - os.statvfs(folder).f_bfree) * before.f_frsize
        check(LIBC.umount(folder.encode()), f"umount {folder}")
        mount(step["kind"], folder, source=device)
        for name in step["results"]:
            shutil.copyfile(f"{folder}/{name}", f"{SHARED}/{name}")
        check(LIBC.umount(folder.encode()), f"umount {folder}")
    return {"runs": runs, "used": used}


def do_logged(step):
    """Runs a program on an origin and a COW that lie side by side on one disk, whose writes dm-log-writes logs."""
    with contextlib.ExitStack() as stack:
        disk, log = (stack.enter_context(loop_device(step[name])) for name in ("disk", "log"))
        logged = stack.enter_context(mapped("logged", f"0 {sectors_of(disk)} log-writes {disk} {log}"))
        start, paths = 0, []
        for name in ("origin", "cow"):
            size = step[f"{name}_sectors"]
            paths.append(stack.enter_context(mapped(name, f"0 {size} linear {logged} {start}")))
            start += size
        done = subprocess.run([*step["command"], *paths], capture_output=True, text=True, check=False)
    return {"status": done.returncode, "stderr": done.stderr}


def first_block(path, offset):
    """Where the byte of a file lies on its file system's device, in sectors."""
    fd = os.open(path, os.O_RDONLY)
    block = bytearray(struct.pack("=i", offset // BLOCK))
    fcntl.ioctl(fd, FIBMAP, block)
    os.close(fd)
    number = struct.unpack("=i", block)[0]
    assert number > 0, f"byte {offset} of {path} lies nowhere"
    return number * BLOCK // 512


def do_retry(step):
    """Runs a program twice on files of an ext4 file system; in the first run one block fails, once all was read.

    The program gets its input when the block is bad already. Afterwards the files are what the medium has.
    """
    folder = "/run/ext4"
    os.makedirs(folder, exist_ok=True)
    results = []
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(loop_device(step["disk"]))
        size = sectors_of(disk)
        sound = [f"0 {size} linear {disk} 0"]
        device = stack.enter_context(mapped("disk", sound[0]))
        mount("ext4", folder, source=device)
        bad = first_block(f"{folder}/{step['bad'][0]}", step["bad"][1])
        broken = [f"0 {bad} linear {disk} 0", f"{bad} 8 error ", f"{bad + 8} {size - bad - 8} linear {disk} {bad + 8}"]
        for tables in (broken, sound):
            run = subprocess.Popen(step["command"], cwd=folder, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=False)
            time.sleep(step["open_seconds"])
            load_table("disk", *tables)
            dmsetup("suspend", "disk")
            dmsetup("resume", "disk")
            with open(f"{SHARED}/{step['input']}", "rb") as data:
                _, stderr = run.communicate(data.read())
            load_table("disk", *sound)
            dmsetup("suspend", "disk")
            dmsetup("resume", "disk")
            results.append({"status": run.returncode, "stderr": stderr.decode(errors="replace")})
        check(LIBC.umount(folder.encode()), f"umount {folder}")
        mount("ext4", folder, source=device)
        for name in step["files"]:
            shutil.copyfile(f"{folder}/{name}", f"{SHARED}/{name}")
        check(LIBC.umount(folder.encode()), f"umount {folder}")
    return {"runs": results}


# Without retries, since nobody but a test holds a device open: a merge that is put off would wait for five seconds.
LVM_CONF = """
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 retry_deactivation = 0 }
devices { use_devicesfile = 0 scan = ["/dev"] }
backup { backup = 0 archive = 0 }
global { locking_dir = "/run/lock/lvm" }
"""


def lvm(*arguments):
    os.makedirs("/run/lvm-conf", exist_ok=True)
    with open("/run/lvm-conf/lvm.conf", "w", encoding="utf-8") as file:
        file.write(LVM_CONF)
    environment = dict(os.environ, DM_DISABLE_UDEV="1", LVM_SYSTEM_DIR="/run/lvm-conf",
                       LVM_SUPPRESS_FD_WARNINGS="1")
    done = subprocess.run(["lvm", *arguments], capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"lvm {' '.join(arguments)}: {done.stderr.strip()}")
    return (done.stdout + done.stderr).strip()


def fill_device(device, sector, length, seed):
    """Random data, piece by piece; up to the first piece that the kernel refuses."""
    fd = os.open(device, os.O_RDWR | os.O_DIRECT)
    data = random.Random(seed).randbytes(length * 512)
    try:
        for at in range(0, length, 128):
            write_device(fd, sector + at, data[at * 512:(at + 128) * 512])
    except OSError as error:
        return str(error)
    finally:
        os.close(fd)
    return None


def keep_head(name, length, copy):
    """A copy of the first bytes of an image of the shared folder, as they are now."""
    with open(f"{SHARED}/{name}", "rb") as old, open(f"{SHARED}/{copy}", "wb") as new:
        new.write(old.read(length))


def throttle_merges(percent):
    """How much of the time the kernel may copy for snapshots, in percent."""
    with open("/sys/module/dm_snapshot/parameters/snapshot_copy_throttle", "w", encoding="ascii") as file:
        file.write(str(percent))


def wait_for_progress(name, allocated):
    """Until a merge has freed something of so many sectors."""
    deadline = time.monotonic() + 60
    while int(allocated_and_metadata(dmsetup("status", name))[0]) >= allocated:
        if time.monotonic() > deadline:
            raise RuntimeError("the merge does not begin")
        time.sleep(0.002)


def wait_for_merge(name):
    deadline = time.monotonic() + 60
    while True:
        live = dmsetup("status", name)
        allocated, metadata = allocated_and_metadata(live)
        if allocated == metadata:
            return live
        if time.monotonic() > deadline:
            raise RuntimeError(f"the merge hangs: {live}")
        time.sleep(0.01)


def do_lvm(step):
    """Requests to LVM and to the devices that it makes, over disks of the shared folder, which are {0}, {1}, ...

    A disk is a name, or a name, an offset and a size in bytes.
    """
    if not os.path.exists("/sys/module/dm_zero"):
        load_module("md/dm-zero")
    results, held = [], []
    with contextlib.ExitStack() as stack:
        disks = [stack.enter_context(loop_device(*([disk] if isinstance(disk, str) else disk)))
                 for disk in step["disks"]]
        for verb, *words in step["ops"]:
            words = [word.format(*disks, shared=SHARED) if isinstance(word, str) else word for word in words]
            if verb == "hold":
                held.append(os.open(words[0], os.O_RDONLY))
                results.append(None)
            elif verb == "release":
                os.close(held.pop())
                results.append(None)
            else:
                does = {"lvm": lvm, "fill": fill_device, "sum": lambda path: sha256(read_device(path)),
                        "dmsetup": dmsetup, "merged": wait_for_merge, "keep": keep_head,
                        "throttle": throttle_merges, "progress": wait_for_progress}
                results.append(does[verb](*words))
    return {"results": results}


def listed_tree(folder):
    """{path in hex: what stat says of it, and the sum of its content, or its target in hex}."""
    files = {}
    ahead = [os.fsencode(folder)]
    while ahead:
        path = ahead.pop()
        for name in os.listdir(path):
            below = os.path.join(path, name)
            short = os.path.relpath(below, os.fsencode(folder)).hex()
            try:
                status = os.lstat(below)
                seen = {"mode": status.st_mode, "links": status.st_nlink, "owner": status.st_uid, "group": status.st_gid, "size": status.st_size,
                        "times": [status.st_mtime_ns, status.st_ctime_ns, status.st_atime_ns], "device": status.st_rdev}
                if stat.S_ISLNK(status.st_mode):
                    seen["target"] = os.readlink(below).hex()
                if stat.S_ISREG(status.st_mode):
                    with open(below, "rb") as file:
                        seen["sha256"] = sha256(file.read())
                if stat.S_ISDIR(status.st_mode):
                    ahead.append(below)
            except OSError as error:
                seen = {"errno": error.errno}
            files[short] = seen
    return files


def do_mounted(step):
    """What is in an image's file system, mounted; None where it cannot be mounted."""
    for name in step["modules"]:
        if not os.path.exists(f"/sys/module/{name.rpartition('/')[2]}"):
            load_module(f"../{name}")
    os.makedirs("/run/mounted", exist_ok=True)
    with loop_device(step["image"]) as device:
        if LIBC.mount(device.encode(), b"/run/mounted", step["kind"].encode(), 1, step["options"].encode()) != 0:
            return {"files": None}
        try:
            return {"files": listed_tree("/run/mounted")}
        finally:
            check(LIBC.umount(b"/run/mounted"), "umount")


def do_step(step):
    if step["do"] == "mounted":
        return do_mounted(step)
    if step["do"] == "lvm":
        return do_lvm(step)
    if step["do"] == "copy":
        return do_copy(step)
    if step["do"] == "on-file-system":
        return do_on_file_system(step)
    if step["do"] == "logged":
        return do_logged(step)
    if step["do"] == "retry":
        return do_retry(step)
    if step["do"] == "session":
        return do_session(step)
    verbs = {"look": do_look, "view": do_view, "write": do_write, "merge": do_merge}
    with contextlib.ExitStack() as stack:
        return verbs[step["do"]](Pair(stack, step), step)


def run_job():
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    mount("proc", "/proc")
    mount("sysfs", "/sys")
    mount("tmpfs", "/run")
    if not os.path.exists("/dev/null"):
        mount("devtmpfs", "/dev")
    os.mkdir(SHARED)
    mount("hostfs", SHARED, sys.argv[1])
    for name in MODULES:
        load_module(name)
    with open(f"{SHARED}/job.json", encoding="utf-8") as file:
        steps = json.load(file)
    results = []
    for step in steps:
        start = time.monotonic()
        try:
            result = do_step(step)
        except Exception:
            result = {"error": traceback.format_exc()}
        results.append(result | {"seconds": round(time.monotonic() - start, 3)})
    with open(f"{SHARED}/result.json", "w", encoding="utf-8") as file:
        json.dump(results, file)


if __name__ == "__main__":
    try:
        run_job()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os.sync()
    # Only init's end or this stops the guest; a hung guest would be killed by the host's timeout.
    LIBC.reboot(POWER_OFF)
