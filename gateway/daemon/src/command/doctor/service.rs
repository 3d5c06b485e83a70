//! The service: installed, to be started at boot, and how it gets on. Asked of systemctl(1), whose answer is `KEY=value` lines.

use std::process::Command;

use super::finding::Finding;
use super::machine::Machine;

const UNIT: &str = "lamppost.service";
const ASKED: &str = "--property=LoadState,ActiveState,SubState,Result,NRestarts,UnitFileState,NeedDaemonReload";

/// Looks at the unit, where systemd is there.
pub(crate) fn look(machine: &Machine) -> Vec<Finding> {
    // Its own mark of having booted the machine (sd_booted(3)).
    if machine.read("/proc/1/comm").as_deref() != Some("systemd") {
        return vec![];
    }
    let answer = Command::new("systemctl").args(["show", UNIT, ASKED]).output();
    let mut findings = match answer {
        Ok(answer) if answer.status.success() => judge(&String::from_utf8_lossy(&answer.stdout)),
        Ok(answer) => {
            let said = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
            vec![Finding::warn("service", format!("systemctl does not answer: {said}"), "systemctl status lamppost")]
        }
        Err(error) => {
            vec![Finding::warn("service", format!("systemctl can't be asked: {error}"), "systemctl status lamppost")]
        }
    };
    findings.extend(judge_memory(machine));
    findings
}

/// Whether the kernel counts the memory of services: without, the unit's bounds hold nothing. Of cgroup version 2 alone, which has the list.
fn judge_memory(machine: &Machine) -> Option<Finding> {
    let controllers = machine.read("/sys/fs/cgroup/cgroup.controllers")?;
    let counts = controllers.split_whitespace().any(|controller| controller == "memory");
    (!counts).then(|| {
        Finding::warn(
            "service",
            "the kernel counts no service's memory (cgroup_disable=memory, as on a Raspberry Pi): MemoryHigh= and MemoryMax= of the unit do \
             nothing",
            "on a Raspberry Pi, add cgroup_enable=memory to the line in /boot/firmware/cmdline.txt, and restart the machine",
        )
    })
}

fn judge(shown: &str) -> Vec<Finding> {
    let value =
        |key: &str| shown.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
    if value("LoadState") == "not-found" {
        return vec![Finding::warn(
            "service",
            "lamppost is not installed as a service",
            "install the package, or see systemd/README.md",
        )];
    }
    let mut findings = vec![];
    let (state, result) = (value("ActiveState"), value("Result"));
    let look_there = "journalctl -u lamppost -n 50 says why";
    findings.push(match state {
        "active" => Finding::ok("service", "it runs"),
        "activating" if value("SubState") == "auto-restart" => {
            Finding::fail("service", format!("it ends again and again ({result})"), look_there)
        }
        "activating" | "reloading" => Finding::ok("service", format!("it is {state}")),
        "failed" => Finding::fail("service", format!("it has failed ({result})"), look_there),
        _ => Finding::warn("service", format!("it does not run ({state})"), "systemctl enable --now lamppost"),
    });
    let restarts = value("NRestarts");
    if !matches!(restarts, "" | "0") {
        let remedy = "journalctl -u lamppost -g 'stopping|can.t go on|watchdog' says why";
        findings.push(Finding::warn(
            "service",
            format!("systemd had to start it again {restarts} times since it was started"),
            remedy,
        ));
    }
    if matches!(value("UnitFileState"), "disabled" | "masked") {
        findings.push(Finding::warn("service", "it is not started at boot", "systemctl enable lamppost"));
    }
    if value("NeedDaemonReload") == "yes" {
        findings.push(Finding::warn(
            "service",
            "its unit was changed, and systemd has not read it",
            "systemctl daemon-reload",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_kernel_that_counts_no_memory_of_services_is_told() {
        use super::super::machine::model::Modelled;

        let told = |text| judge_memory(&Modelled::new(&[("/sys/fs/cgroup/cgroup.controllers", text)]).machine());
        assert_eq!(told("cpuset cpu io memory pids\n"), None);
        let without = told("cpuset cpu io pids\n").unwrap();
        assert!(without.level == Level::Warn && without.remedy.unwrap().contains("cgroup_enable=memory"));
        assert_eq!(judge_memory(&Modelled::new(&[]).machine()), None, "version 1, or no cgroups: nothing is known");
    }

    fn levels(shown: &str) -> Vec<Level> {
        judge(shown).into_iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn a_service_that_runs_and_will_run_again_is_right() {
        let shown = "LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nNRestarts=0\nUnitFileState=enabled\nNeedDaemonReload=no\n";
        assert_eq!(levels(shown), [Level::Ok]);
    }

    #[test]
    fn one_that_fails_restarts_or_would_not_come_back_is_told() {
        assert_eq!(levels("LoadState=not-found\nActiveState=inactive\n"), [Level::Warn]);
        assert_eq!(levels("LoadState=loaded\nActiveState=failed\nResult=watchdog\n"), [Level::Fail]);
        let ending = "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nResult=exit-code\nNRestarts=12\nUnitFileState=disabled\nNeedDaemonReload=yes\n";
        assert_eq!(levels(ending), [Level::Fail, Level::Warn, Level::Warn, Level::Warn]);
        assert!(judge(ending)[1].found.contains("12 times"));
    }
}
