"""The other workers on the same Redis: their names, which one leads, and the messages between them.

May import hub, market, store and protocol; knows nothing of sockets. Its entry points are
`membership.Membership`, `publisher` and `subscriber`.
"""
