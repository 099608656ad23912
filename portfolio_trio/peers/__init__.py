"""The other workers on the same Redis: who they are, which of them leads, and what they tell each other.

May import hub, market, store and protocol, and knows no socket. Exports nothing by name: its entry points are
`membership.Membership`, `publisher` and `subscriber`.
"""
