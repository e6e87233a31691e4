//! The program `jobslate`; everything it does is in the library.

fn main() -> std::process::ExitCode {
    jobslate::cli::run(std::env::args_os()).into()
}
