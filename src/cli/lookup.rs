//! `jobslate lookup`: many jobs by their ids.

use std::io::{self, BufRead};

use super::args::LookupArgs;
use super::exit::{Exit, Failure};
use super::list::print_page;
use super::output::{self, shown};
use crate::client::Client;
use crate::model::JobId;
use crate::model::limits::LOOKUP_JOBS_MAX;

/// Shows the jobs, as many at a time as the server looks up, and names the ids that have none.
///
/// # Errors
/// [`Failure`]: an id has no job, or cannot have one, or no server.
pub async fn run(args: LookupArgs) -> Result<(), Failure> {
    let client = Client::new(&args.server.url)?;
    let mut ids: Box<dyn Iterator<Item = Result<String, Failure>>> = match args.jobs.as_slice() {
        [dash] if dash == "-" => Box::new(lines(io::stdin().lock())),
        ids => Box::new(ids.iter().map(|id| checked(id.clone(), ""))),
    };
    let (mut is_first, mut missing) = (true, 0_u64);
    loop {
        let chunk: Vec<String> = ids.by_ref().take(LOOKUP_JOBS_MAX).collect::<Result<_, _>>()?;
        if chunk.is_empty() {
            break;
        }
        let answer = client.lookup(chunk).await?;
        if args.server.json {
            output::rows(&answer.found)?;
        } else if !answer.found.is_empty() {
            print_page(&answer.found, is_first)?;
            is_first = false;
        }
        missing += answer.missing.len() as u64;
        answer.missing.iter().for_each(|id| output::note(&format!("no job {}", shown(id))));
    }
    if missing == 0 { Ok(()) } else { Err(Failure::silent(Exit::No)) }
}

/// The ids of an input, one a line; empty lines are none. Spaces belong to an id, line ends do not.
fn lines(input: impl BufRead) -> impl Iterator<Item = Result<String, Failure>> {
    let numbered = input.lines().zip(1_u64..);
    numbered.filter_map(|(line, number)| match line {
        Ok(line) if line.is_empty() => None,
        Ok(line) => Some(checked(line, &format!("line {number}: "))),
        Err(error) => {
            let exit = if error.raw_os_error().is_some() { Exit::Io } else { Exit::BadData };
            Some(Err(Failure::new(exit, format!("line {number} cannot be read: {error}"))))
        }
    })
}

fn checked(id: String, place: &str) -> Result<String, Failure> {
    match JobId::parse(&id) {
        Ok(_) => Ok(id),
        Err(error) => Err(Failure::new(Exit::BadData, format!("{place}{error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_one_a_line_and_a_bad_one_is_named_by_its_line() {
        let ids: Vec<_> = lines(&b"a\r\n\n b c \n..\n"[..]).collect();
        let good: Vec<&str> = ids.iter().flatten().map(String::as_str).collect();
        assert_eq!(good, ["a", " b c "]);
        let bad = ids.iter().find_map(|id| id.as_ref().err()).unwrap();
        assert!(bad.message.starts_with("line 4: job id"), "{}", bad.message);
        assert_eq!(bad.exit, Exit::BadData);
    }
}
