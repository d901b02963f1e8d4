import { UsernameTakenError } from '../errors.js'
import { builder } from '../schema/builder.js'
import { asSignedIn, UpdateProfileInput, UpdateProfileSuccess, User } from '../schema/users.js'

builder.queryField('me', (t) =>
  t.field({
    description: 'The signed-in user; null when the request carries no valid session.',
    type: User,
    nullable: true,
    isPublic: true,
    resolve: (_root, _args, { viewer }) => viewer && asSignedIn(viewer.user, viewer.session),
  }),
)

builder.mutationField('updateProfile', (t) =>
  t.withAuth({ signedIn: true }).field({
    description: 'Changes your profile.',
    type: UpdateProfileSuccess,
    args: { input: t.arg({ type: UpdateProfileInput, required: true }) },
    errors: { types: [UsernameTakenError] },
    resolve: async (_root, { input }, { services, client, viewer }) => {
      const { username, firstName, lastName, displayName, locale, timezone } = input
      const change = {
        ...(username !== undefined && { username }),
        ...(firstName !== undefined && { firstName }),
        ...(lastName !== undefined && { lastName }),
        ...(displayName !== undefined && { displayName }),
        ...(locale && { locale }),
        ...(timezone && { timezone }),
      }
      const user = await services.profiles.update(client, viewer, change)
      return { user: asSignedIn(user, viewer.session) }
    },
  }),
)
