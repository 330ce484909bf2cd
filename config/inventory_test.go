package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func fleet() *Inventory {
	v := &Inventory{machines: map[Name]*Machine{}}
	for _, m := range []Machine{
		{Name: Name{"ms1-10", "mdc1"}, FQDN: "ms1-10.test.releng.mdc1.mozilla.com"},
		{Name: Name{"ms1-11", "mdc1"}, FQDN: "ms1-11.wintest.releng.mdc1.mozilla.com"},
		{Name: Name{"ms1-11", "mdc2"}, FQDN: "ms1-11.test.releng.mdc2.mozilla.com"},
	} {
		v.machines[m.Name] = &m
	}
	return v
}

func TestResolve(t *testing.T) {
	t.Parallel()
	ms10 := Name{"ms1-10", "mdc1"}
	for name, tc := range map[string]struct {
		id, group string
		want      Name
		err       string
	}{
		"as it stands":         {id: "ms1-10", group: "mdc1", want: ms10},
		"in capitals":          {id: "MS1-10", group: "MDC1", want: ms10},
		"group none":           {id: "Ms1-10", group: "None", want: ms10},
		"no group":             {id: "ms1-10", want: ms10},
		"full host name":       {id: "MS1-10.test.releng.mdc1.mozilla.com", group: "none", want: ms10},
		"full name and group":  {id: "ms1-11.test.releng.mdc2.mozilla.com", group: "mdc2", want: Name{"ms1-11", "mdc2"}},
		"full name, ambiguous": {id: "ms1-11.wintest.releng.mdc1.mozilla.com", want: Name{"ms1-11", "mdc1"}},
		"same ID, its group":   {id: "ms1-11", group: "mdc2", want: Name{"ms1-11", "mdc2"}},
		"ambiguous":            {id: "ms1-11", group: "none", err: `machine "ms1-11" is in the groups mdc1, mdc2: say which`},
		"unknown machine":      {id: "ms1-99", group: "mdc1", err: `machine "ms1-99" is not in worker group "mdc1" of the inventory`},
		"other group":          {id: "ms1-10", group: "mdc2", err: `machine "ms1-10" is not in worker group "mdc2" of the inventory`},
		"unknown, any group":   {id: "ms1-99", group: "none", err: `machine "ms1-99" is in no worker group of the inventory`},
		"unknown group":        {id: "ms1-10", group: "mdc9", err: `worker group "mdc9" is not in the inventory (it has mdc1, mdc2)`},
		"full name, wrong":     {id: "ms1-10.test.releng.mdc1.mozilla.com", group: "mdc2", err: `machine "ms1-10.test.releng.mdc1.mozilla.com" is not in worker group "mdc2" of the inventory`},
		"the beginning only":   {id: "ms1", group: "mdc1", err: `machine "ms1" is not in worker group "mdc1" of the inventory`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := fleet().Resolve(tc.id, tc.group)
			if tc.err != "" {
				require.EqualError(t, err, tc.err)
				require.Zero(t, got)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got.Name)
		})
	}
}

func TestResolveInNothing(t *testing.T) {
	t.Parallel()
	_, err := (&Inventory{}).Resolve("ms1-10", "mdc1")
	require.EqualError(t, err, `worker group "mdc1" is not in the inventory (it is empty)`)
	require.Empty(t, (&Inventory{}).Machines())
}

func TestLookup(t *testing.T) {
	t.Parallel()
	m, err := fleet().Lookup(Name{"ms1-11", "mdc2"})
	require.NoError(t, err)
	require.Equal(t, "ms1-11.test.releng.mdc2.mozilla.com", m.FQDN)
	_, err = fleet().Lookup(Name{"ms1-10", "mdc2"})
	require.EqualError(t, err, `machine "mdc2/ms1-10" is not in the inventory`)
}

func TestMachinesAreSorted(t *testing.T) {
	t.Parallel()
	var names []string
	for _, m := range fleet().Machines() {
		names = append(names, m.String())
	}
	require.Equal(t, []string{"mdc1/ms1-10", "mdc1/ms1-11", "mdc2/ms1-11"}, names)
}

func TestNewInventory(t *testing.T) {
	t.Parallel()
	m := Machine{Name: Name{WorkerID: "a", WorkerGroup: "g"}, FQDN: "a.example"}
	other := Machine{Name: Name{WorkerID: "b", WorkerGroup: "g"}, FQDN: "b.example"}
	v := NewInventory(m, other)
	require.Equal(t, []Machine{m, other}, v.Machines())
	found, err := v.Lookup(m.Name)
	require.NoError(t, err)
	require.Equal(t, m, found)
}

func TestSplitFQDN(t *testing.T) {
	t.Parallel()
	templates := []string{"broken", "{worker_id}.test.releng.{worker_group}.mozilla.com", "{worker_id}.wintest.releng.{worker_group}.mozilla.com"}
	for fqdn, want := range map[string]Name{
		"T-W1064-MS-010.wintest.releng.mdc1.mozilla.com": {WorkerID: "t-w1064-ms-010", WorkerGroup: "mdc1"},
		"ms1-10.test.releng.MDC2.mozilla.com":            {WorkerID: "ms1-10", WorkerGroup: "mdc2"},
		"ms1-10":                                         {},
		"ms1-10.example.com":                             {},
	} {
		n, ok := SplitFQDN(templates, fqdn)
		require.Equal(t, want != Name{}, ok, fqdn)
		require.Equal(t, want, n, fqdn)
	}
}
