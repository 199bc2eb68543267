from malformed import table

print(table())
