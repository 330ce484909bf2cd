package activities

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// meaningWords is what an error's meaning says of a question.
var meaningWords = map[Meaning]string{
	NotSent: "cannot be asked",
	Refused: "refuses",
	Unknown: "unclear",
	NoRung:  "not asked",
}

// text is the status for people: one line for each that was asked.
func (s MachineStatus) text(fqdn string, now time.Time) string {
	var b strings.Builder
	fmt.Fprintln(&b, fqdn)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(s.Power) == 0 {
		fmt.Fprintln(w, "power\tno device in the inventory can tell")
	}
	for i, p := range s.Power {
		label := "power"
		if i > 0 {
			label = ""
		}
		fmt.Fprintln(w, label+"\t"+p.text())
	}
	fmt.Fprintln(w, "ping\t"+s.Ping.text())
	if hint := s.Filtered(); hint != "" {
		fmt.Fprintln(w, "\t\t"+hint)
	}
	fmt.Fprintln(w, "ssh\t"+s.SSH.text())
	fmt.Fprint(w, "job\t"+s.Job.text(now))
	switch {
	case s.LoanProblem != "":
		fmt.Fprint(w, "\nloan\t\tnot known: "+s.LoanProblem)
	case s.Loan != nil:
		fmt.Fprint(w, "\nloan\t\t"+s.Loan.String())
	}
	_ = w.Flush() // to memory
	return b.String()
}

func (p PowerReading) text() string {
	what := strings.TrimSpace(p.Device + " " + p.Name)
	if p.Problem != "" {
		return what + "\t" + meaningWords[p.Meaning] + ": " + p.Problem
	}
	return what + "\t" + p.State
}

// Filtered says what to do about a machine that answers no ping and shows its SSH
// banner: something drops its pings, so that no job could see it up. "" if it does
// not.
func (s MachineStatus) Filtered() string {
	if s.Ping.Answers || s.Ping.Problem != "" || s.Ping.Probe != "icmp" || s.SSH == nil || s.SSH.Banner == "" {
		return ""
	}
	return "it is up by its SSH banner: if its pings are dropped, give its entry a \"probe\" like \"tcp:22\", or jobs take it for down"
}

func (p PingReading) text() string {
	switch {
	case p.Problem != "":
		return p.Probe + "\tcannot be asked: " + p.Problem
	case !p.Answers:
		return p.Probe + "\tno answer"
	}
	return p.Probe + "\tanswers, " + p.RTT.String()
}

func (s *SSHReading) text() string {
	switch {
	case s == nil:
		return "\tno ssh entry"
	case s.Problem != "":
		return "\tno banner: " + s.Problem
	}
	return "\t" + s.Banner
}

func (j JobReading) text(now time.Time) string {
	switch {
	case j.Problem != "":
		return "\tnot known: " + j.Problem
	case j.Task == "":
		return "\tnone"
	}
	text := fmt.Sprintf("\t%s for %s", j.Task, now.Sub(j.StartedAt).Round(time.Second))
	if j.Rung != "" && j.Rung != j.Task {
		text += ", at " + j.Rung
	}
	if j.Off != "" {
		text += ", OFF by " + j.Off
	}
	if j.ClientID != "" {
		text += ", asked for by " + j.ClientID
	}
	return text + " (task_id " + j.TaskID + ")"
}

// plainLine is what a peer or an error said, as one line of at most some hundred
// characters that a terminal can print.
func plainLine(text string) string {
	const most = 400
	line := strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }), " ")
	return line[:min(len(line), most)]
}
