//! Survives the truncation of a mapped file.
//!
//! Reading a page of a map that lies behind the end of its file raises SIGBUS, which would end the program at a random
//! moment, without a word. The handler installed here puts zero pages in place of the rest of the map, notes that, and
//! lets the read go on; whoever used what was read asks [`Guard::is_lost`] before it counts. Any other SIGBUS goes to
//! the action that was there before.
//!
//! The handler only loads and stores atomics and calls mmap, sigaction and raise: all async-signal-safe on Linux.

use libc::{c_int, c_void, siginfo_t};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{mem, ptr};

/// Maps guarded at the same time.
const MAX_MAPS: usize = 128;
/// Values of [`Region::start`] that are no address.
const FREE: usize = 0;
const CLAIMED: usize = 1;

/// One guarded map.
struct Region {
    start: AtomicUsize,
    /// Whole pages.
    len: AtomicUsize,
    is_lost: AtomicBool,
}

static REGIONS: [Region; MAX_MAPS] =
    [const { Region { start: AtomicUsize::new(FREE), len: AtomicUsize::new(0), is_lost: AtomicBool::new(false) } };
        MAX_MAPS];

/// What the handler needs to know.
struct Installed {
    page_len: usize,
    previous: libc::sigaction,
}

static INSTALLED: OnceLock<Result<Installed, i32>> = OnceLock::new();

/// Guards a map from now until it is dropped, which must be before the map is unmapped.
#[derive(Debug)]
pub(super) struct Guard {
    region: &'static Region,
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len.load(Ordering::Relaxed))
    }
}

impl Guard {
    /// Guards `map`, the whole of a private or shared read-only map of a file.
    pub fn new(map: &[u8]) -> io::Result<Self> {
        let installed = install()?;
        let region = REGIONS
            .iter()
            .find(|region| region.start.compare_exchange(FREE, CLAIMED, Ordering::AcqRel, Ordering::Relaxed).is_ok())
            .ok_or_else(|| io::Error::other("too many maps"))?;
        region.len.store(map.len().next_multiple_of(installed.page_len), Ordering::Relaxed);
        region.is_lost.store(false, Ordering::Relaxed);
        // An empty map has no page to lose.
        let start = if map.is_empty() { CLAIMED } else { map.as_ptr() as usize };
        region.start.store(start, Ordering::Release);
        Ok(Self { region })
    }

    /// Whether something that was read of the map so far may have been zeros in place of the file's bytes.
    pub fn is_lost(&self) -> bool {
        self.region.is_lost.load(Ordering::Acquire)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.region.start.store(FREE, Ordering::Release);
    }
}

/// Installs the handler, once in the life of the process.
fn install() -> io::Result<&'static Installed> {
    INSTALLED.get_or_init(install_now).as_ref().map_err(|&errno| io::Error::from_raw_os_error(errno))
}

fn install_now() -> Result<Installed, i32> {
    let last_errno = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
    // SAFETY: sysconf takes no pointer.
    let page_len = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).map_err(|_| last_errno())?;
    // The handler looks into INSTALLED, which is not there before this function has returned. No map is guarded before
    // that, so until then it has nothing to do but to pass on.
    //
    // SAFETY: sigaction is plain data for which zeros are valid (no flags, an empty mask, the default action); the pointers
    // are to live values; `handle` has the signature that SA_SIGINFO asks for, and calls nothing that is not
    // async-signal-safe. SA_ONSTACK does no harm on threads without an alternate stack.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handle as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        let mut previous: libc::sigaction = mem::zeroed();
        match libc::sigaction(libc::SIGBUS, &action, &mut previous) {
            0 => Ok(Installed { page_len, previous }),
            _ => Err(last_errno()),
        }
    }
}

extern "C" fn handle(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo_t. For codes above 0 the kernel raised the signal for a fault
    // of this thread and si_addr is its address; for others si_addr has no meaning.
    let fault = unsafe { ((*info).si_code > 0).then(|| (*info).si_addr() as usize) };
    let installed = INSTALLED.get().and_then(|installed| installed.as_ref().ok());
    if let (Some(address), Some(installed)) = (fault, installed)
        && REGIONS.iter().any(|region| replace_lost(region, address, installed.page_len))
    {
        return;
    }
    pass_on(installed.map(|installed| &installed.previous), signal, info, context);
}

/// Puts zero pages from `address` to the end of `region`, if it lies there. The whole rest: behind the first page that is
/// behind the end of a file, all are.
fn replace_lost(region: &Region, address: usize, page_len: usize) -> bool {
    let start = region.start.load(Ordering::Acquire);
    let end = start.saturating_add(region.len.load(Ordering::Relaxed));
    if start <= CLAIMED || !(start..end).contains(&address) {
        return false;
    }
    // Before the zeros: who reads one of them finds the note afterwards.
    region.is_lost.store(true, Ordering::SeqCst);
    let page = address - address % page_len;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: [page, end) lies in a map that is ours and stays mapped as long as its region is registered (a Guard is dropped
    // before its map), so nothing else is replaced; it stays readable. mmap may set errno, which belongs to the code
    // that was interrupted: it is restored. __errno_location gives the thread's own, always valid.
    unsafe {
        let errno = *libc::__errno_location();
        let mapped = libc::mmap(page as *mut c_void, end - page, libc::PROT_READ, flags, -1, 0);
        *libc::__errno_location() = errno;
        mapped != libc::MAP_FAILED
    }
}

/// Does what would have been done without this handler.
fn pass_on(previous: Option<&libc::sigaction>, signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let action = previous.map_or(libc::SIG_DFL, |previous| previous.sa_sigaction);
    // SAFETY: `action` is what the kernel gave as the previous action: a number that stands for one, or a function with the
    // signature that its flags say; `info` is valid, see `handle`. raise and sigaction are async-signal-safe.
    unsafe {
        match action {
            libc::SIG_IGN if (*info).si_code <= 0 => {}
            libc::SIG_DFL | libc::SIG_IGN => {
                let mut default: libc::sigaction = mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &default, ptr::null_mut());
                // Blocked while this handler runs, taken when it returns.
                libc::raise(signal);
            }
            _ if previous.is_some_and(|previous| previous.sa_flags & libc::SA_SIGINFO != 0) => {
                let action: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = mem::transmute(action);
                action(signal, info, context);
            }
            _ => {
                let action: extern "C" fn(c_int) = mem::transmute(action);
                action(signal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memmap2::Mmap;
    use std::env;
    use std::fs::File;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitStatus};

    const PAGE: u64 = 4096;

    fn mapped(len: u64) -> (File, Mmap) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        // SAFETY: the test reads plain bytes; that the file is truncated is what it is about.
        let map = unsafe { Mmap::map(&file) }.unwrap();
        (file, map)
    }

    fn sum(bytes: &[u8]) -> u64 {
        bytes.iter().map(|&byte| u64::from(std::hint::black_box(byte))).sum()
    }

    #[test]
    fn a_truncated_map_reads_as_zeros_and_says_so() {
        for left in [0, 1, PAGE, 3 * PAGE, 5 * PAGE + 17] {
            let (file, map) = mapped(10 * PAGE + 5);
            let guard = Guard::new(&map).unwrap();
            sum(&map);
            assert!(!guard.is_lost());
            file.set_len(left).unwrap();
            assert_eq!(sum(&map), 0);
            assert!(guard.is_lost(), "{left} bytes left");
        }
    }

    #[test]
    fn many_threads_may_hit_the_hole_at_once() {
        let (file, map) = mapped(256 * PAGE);
        let guard = Guard::new(&map).unwrap();
        file.set_len(0).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!((sum(&map), guard.is_lost()), (0, true)));
            }
        });
    }

    #[test]
    fn one_map_s_loss_is_not_another_s() {
        let [(file, lost), (_kept_file, kept)] = [mapped(4 * PAGE), mapped(4 * PAGE)];
        let guards = [Guard::new(&lost).unwrap(), Guard::new(&kept).unwrap()];
        file.set_len(0).unwrap();
        sum(&lost);
        sum(&kept);
        assert_eq!(guards.each_ref().map(Guard::is_lost), [true, false]);
    }

    #[test]
    fn places_are_used_again() {
        let (_file, map) = mapped(PAGE);
        for _ in 0..3 * MAX_MAPS {
            Guard::new(&map).unwrap();
        }
    }

    /// Runs the ignored test `name` in a process of its own.
    fn run_alone(name: &str) -> ExitStatus {
        let name = format!("image::guard::tests::{name}");
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", &name, "--ignored", "--quiet"]).output().unwrap().status
    }

    #[test]
    fn any_other_sigbus_still_ends_the_program() {
        for name in ["dies_of_a_map_that_is_not_guarded", "dies_of_a_sigbus_that_was_sent"] {
            assert_eq!(run_alone(name).signal(), Some(libc::SIGBUS), "{name}");
        }
    }

    #[test]
    #[ignore = "run by any_other_sigbus_still_ends_the_program, in a process of its own"]
    fn dies_of_a_map_that_is_not_guarded() {
        let [(_file, guarded), (file, bare)] = [mapped(PAGE), mapped(PAGE)];
        let _guard = Guard::new(&guarded).unwrap();
        file.set_len(0).unwrap();
        sum(&bare);
    }

    #[test]
    #[ignore = "run by any_other_sigbus_still_ends_the_program, in a process of its own"]
    fn dies_of_a_sigbus_that_was_sent() {
        let (_file, map) = mapped(PAGE);
        let _guard = Guard::new(&map).unwrap();
        // The action that was there before is the Rust runtime's: it takes the first for a fault that will come again.
        for _ in 0..500 {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::BUS).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
